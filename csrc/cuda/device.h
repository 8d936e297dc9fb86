// The one include of a kernel. Under nvcc it is CUDA with the PTX wrappers of ptx.h; under the host
// compiler, for tests that need no GPU, the emulation of the same names (docs/cuda-emulation.md).
#pragma once

#ifdef __CUDACC__
#include "cuda/ptx.h"
#else
#include "cuda_emulation.h"
#endif
