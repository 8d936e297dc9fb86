// bfloat16 by AVX512_BF16 where there is no AMX: the same GEMM and the same bundles of groups,
// their products formed by vectors. im2col_gemm_avx512.cpp says why the includes lie as they do.
#if defined(__x86_64__)
// GCC 12 warns of the deliberately undefined operands inside its own header (bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/amx/blocking.h"
#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/entries.h"
#include "cpu/conv2d/gather.h"
#include "cpu/conv2d/grouped_plan.h"
#include "cpu/conv2d/grouped_tiles_plan.h"
#include "cpu/conv2d/in_place_pixels.h"
#include "cpu/conv2d/inside_taps.h"
#include "cpu/conv2d/partition.h"
#include "cpu/conv2d/pixel_plan.h"
#include "cpu/conv2d/weight_gradient.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/conv2d/zero_borders.h"
#include "cpu/conv2d/zero_fill.h"
#include "cpu/dispatch_dtype.h"
#include "cpu/largest.h"
#include "cpu/parallel.h"
#include "cpu/workspace.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,f16c,avx2")
#include "cpu/amx/vector_tiles.h"
// After the tiles.
#include "cpu/conv2d/amx_convolution.h"
#include "cpu/conv2d/grouped_tiles_entries.h"

namespace fastconv::cpu {

using Convolution = AmxConvolution<VectorTiles, 1>;
using Grouped = GroupedOfTerms<VectorTiles, 1>;

const Conv2dAlgorithm conv2d_fprop_avx512_bf16x1 =
    Convolution::fprop_algorithm("conv2d_fprop_avx512_bf16x1");
const Conv2dAlgorithm conv2d_dgrad_avx512_bf16x1 =
    Convolution::dgrad_algorithm("conv2d_dgrad_avx512_bf16x1");
const Conv2dAlgorithm conv2d_wgrad_avx512_bf16x1 =
    Convolution::wgrad_algorithm("conv2d_wgrad_avx512_bf16x1");

const Conv2dAlgorithm conv2d_fprop_grouped_avx512_bf16x1 =
    Grouped::fprop_algorithm("conv2d_fprop_grouped_avx512_bf16x1");
const Conv2dAlgorithm conv2d_dgrad_grouped_avx512_bf16x1 =
    Grouped::dgrad_algorithm("conv2d_dgrad_grouped_avx512_bf16x1");

}  // namespace fastconv::cpu
#pragma GCC pop_options
#endif  // __x86_64__
