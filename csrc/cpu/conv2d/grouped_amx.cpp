// Grouped convolution on AMX tiles; im2col_gemm_avx512.cpp says why the includes lie as they do.
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
#include "cpu/conv2d/worker_pool.h"
#include "cpu/conv2d/zero_fill.h"
#include "cpu/dispatch_dtype.h"
#include "cpu/largest.h"
#include "cpu/parallel.h"
#include "cpu/workspace.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,f16c,avx2")
#include "cpu/gemm/vector_avx512.h"
// After the vectors.
#include "cpu/amx/tiles.h"
#include "cpu/conv2d/grouped_tiles_entries.h"

namespace fastconv::cpu {

using GroupedX3 = GroupedOfTerms<AmxTiles, 2>;
using GroupedX1 = GroupedOfTerms<AmxTiles, 1>;

const Conv2dAlgorithm conv2d_fprop_grouped_amx_bf16x3 =
    GroupedX3::fprop_algorithm("conv2d_fprop_grouped_amx_bf16x3");
const Conv2dAlgorithm conv2d_dgrad_grouped_amx_bf16x3 =
    GroupedX3::dgrad_algorithm("conv2d_dgrad_grouped_amx_bf16x3");
const Conv2dAlgorithm conv2d_fprop_grouped_amx_bf16x1 =
    GroupedX1::fprop_algorithm("conv2d_fprop_grouped_amx_bf16x1");
const Conv2dAlgorithm conv2d_dgrad_grouped_amx_bf16x1 =
    GroupedX1::dgrad_algorithm("conv2d_dgrad_grouped_amx_bf16x1");

}  // namespace fastconv::cpu
#pragma GCC pop_options
#endif  // __x86_64__
