// im2col + GEMM for AVX-512.
//
// Everything above the pragma is compiled for the baseline CPU: inline functions of shared headers
// must not come out of this file with instructions that another file's caller may not run. What
// comes after it is instantiated with a type of the anonymous namespace and so stays in this file.
#if defined(__x86_64__)
// GCC 12 warns of the deliberately undefined operands inside its own header (bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/entries.h"
#include "cpu/conv2d/gather.h"
#include "cpu/conv2d/in_place_pixels.h"
#include "cpu/conv2d/inside_taps.h"
#include "cpu/conv2d/partition.h"
#include "cpu/conv2d/pixel_plan.h"
#include "cpu/conv2d/weight_gradient.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/conv2d/zero_borders.h"
#include "cpu/conv2d/zero_fill.h"
#include "cpu/dispatch_dtype.h"
#include "cpu/gemm/blocking.h"
#include "cpu/largest.h"
#include "cpu/workspace.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c,avx2")
#include "cpu/gemm/vector_avx512.h"
// After the vectors.
#include "cpu/conv2d/im2col_gemm.h"

namespace fastconv::cpu {

const Conv2dAlgorithm conv2d_fprop_im2col_gemm_avx512 =
    Im2colGemm<Avx512>::fprop_algorithm("conv2d_fprop_im2col_gemm_avx512");
const Conv2dAlgorithm conv2d_dgrad_im2col_gemm_avx512 =
    Im2colGemm<Avx512>::dgrad_algorithm("conv2d_dgrad_im2col_gemm_avx512");
const Conv2dAlgorithm conv2d_wgrad_im2col_gemm_avx512 =
    Im2colGemm<Avx512>::wgrad_algorithm("conv2d_wgrad_im2col_gemm_avx512");

}  // namespace fastconv::cpu
#pragma GCC pop_options
#endif  // __x86_64__
