// device.h for kernels of compute capability 9.0: the same, and what only these GPUs have.
#pragma once

#include "cuda/device.h"
#include "cuda/shared_operand.cuh"

#ifdef __CUDACC__
#include "cuda/ptx_sm90.h"
#else
#include "cuda_emulation_sm90.h"
#endif
