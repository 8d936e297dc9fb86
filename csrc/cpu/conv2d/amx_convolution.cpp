// im2col + GEMM on AMX tiles. As in im2col_gemm_avx512.cpp, everything above the pragma is compiled
// for the baseline CPU.
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
#include "cpu/largest.h"
#include "cpu/workspace.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,f16c,avx2")
#include "cpu/amx/tiles.h"
#include "cpu/conv2d/amx_convolution.h"

namespace fastconv::cpu {

using Bf16x6 = AmxConvolution<AmxTiles, 3>;
using Bf16x3 = AmxConvolution<AmxTiles, 2>;
using Bf16x1 = AmxConvolution<AmxTiles, 1>;

const Conv2dAlgorithm conv2d_fprop_amx_bf16x6 = Bf16x6::fprop_algorithm("conv2d_fprop_amx_bf16x6");
const Conv2dAlgorithm conv2d_dgrad_amx_bf16x6 = Bf16x6::dgrad_algorithm("conv2d_dgrad_amx_bf16x6");
const Conv2dAlgorithm conv2d_wgrad_amx_bf16x6 = Bf16x6::wgrad_algorithm("conv2d_wgrad_amx_bf16x6");

const Conv2dAlgorithm conv2d_fprop_amx_bf16x3 = Bf16x3::fprop_algorithm("conv2d_fprop_amx_bf16x3");
const Conv2dAlgorithm conv2d_dgrad_amx_bf16x3 = Bf16x3::dgrad_algorithm("conv2d_dgrad_amx_bf16x3");
const Conv2dAlgorithm conv2d_wgrad_amx_bf16x3 = Bf16x3::wgrad_algorithm("conv2d_wgrad_amx_bf16x3");

const Conv2dAlgorithm conv2d_fprop_amx_bf16x1 = Bf16x1::fprop_algorithm("conv2d_fprop_amx_bf16x1");
const Conv2dAlgorithm conv2d_dgrad_amx_bf16x1 = Bf16x1::dgrad_algorithm("conv2d_dgrad_amx_bf16x1");
const Conv2dAlgorithm conv2d_wgrad_amx_bf16x1 = Bf16x1::wgrad_algorithm("conv2d_wgrad_amx_bf16x1");

}  // namespace fastconv::cpu
#pragma GCC pop_options
#endif  // __x86_64__
