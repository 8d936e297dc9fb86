// The direct weight gradient for AVX2; im2col_gemm_avx512.cpp says why the includes lie as they
// do.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/direct_wgrad_ahead.h"
#include "cpu/conv2d/direct_wgrad_plan.h"
#include "cpu/conv2d/entries.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/gemm/blocking.h"
#include "cpu/parallel.h"
#include "cpu/workspace.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#include "cpu/gemm/vector_avx2.h"
// After the vectors.
#include "cpu/conv2d/direct_wgrad_entries.h"

namespace fastconv::cpu {

const Conv2dAlgorithm conv2d_wgrad_direct_avx2 =
    DirectWgradEntry<Avx2>::algorithm("conv2d_wgrad_direct_avx2");

}  // namespace fastconv::cpu
#pragma GCC pop_options
#endif  // __x86_64__
