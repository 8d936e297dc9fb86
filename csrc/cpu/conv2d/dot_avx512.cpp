// A few pixels for AVX-512; im2col_gemm_avx512.cpp says why the includes lie as they do.
#if defined(__x86_64__)
// GCC 12 warns of the deliberately undefined operands inside its own header (bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/dot_rows.h"
#include "cpu/conv2d/entries.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/dispatch_dtype.h"
#include "cpu/gemm/blocking.h"
#include "cpu/parallel.h"
#include "cpu/workspace.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c,avx2")
#include "cpu/gemm/vector_avx512.h"
// After the vectors.
#include "cpu/conv2d/dot_products.h"
#include "cpu/conv2d/row_products.h"

namespace fastconv::cpu {

const Conv2dAlgorithm conv2d_fprop_dot_avx512 =
    DotAlgorithm<Avx512>::fprop_algorithm("conv2d_fprop_dot_avx512");
const Conv2dAlgorithm conv2d_dgrad_rows_avx512 =
    RowAlgorithm<Avx512>::dgrad_algorithm("conv2d_dgrad_rows_avx512");

}  // namespace fastconv::cpu
#pragma GCC pop_options
#endif  // __x86_64__
