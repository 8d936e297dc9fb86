// Winograd's convolution with products in AMX tiles; im2col_gemm_avx512.cpp says why the includes
// lie as they do.
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

#include "cpu/amx/blocking.h"
#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/entries.h"
#include "cpu/conv2d/winograd_plan.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/dispatch_dtype.h"
#include "cpu/largest.h"
#include "cpu/workspace.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,f16c,avx2")
#include "cpu/gemm/vector_avx512.h"
// After the vectors.
#include "cpu/amx/tiles.h"
#include "cpu/conv2d/winograd_terms_algorithms.h"

namespace fastconv::cpu {

using Bf16x6 = WinogradOfTerms<AmxTiles, 3>;
using Bf16x3 = WinogradOfTerms<AmxTiles, 2>;

const Conv2dAlgorithm conv2d_fprop_winograd_f4_amx_bf16x6 =
    Bf16x6::F4::fprop_algorithm("conv2d_fprop_winograd_f4_amx_bf16x6");
const Conv2dAlgorithm conv2d_fprop_winograd_f2_amx_bf16x6 =
    Bf16x6::F2::fprop_algorithm("conv2d_fprop_winograd_f2_amx_bf16x6");
const Conv2dAlgorithm conv2d_dgrad_winograd_f4_amx_bf16x6 =
    Bf16x6::F4::dgrad_algorithm("conv2d_dgrad_winograd_f4_amx_bf16x6");
const Conv2dAlgorithm conv2d_dgrad_winograd_f2_amx_bf16x6 =
    Bf16x6::F2::dgrad_algorithm("conv2d_dgrad_winograd_f2_amx_bf16x6");

const Conv2dAlgorithm conv2d_fprop_winograd_f4_amx_bf16x3 =
    Bf16x3::F4::fprop_algorithm("conv2d_fprop_winograd_f4_amx_bf16x3");
const Conv2dAlgorithm conv2d_fprop_winograd_f2_amx_bf16x3 =
    Bf16x3::F2::fprop_algorithm("conv2d_fprop_winograd_f2_amx_bf16x3");
const Conv2dAlgorithm conv2d_dgrad_winograd_f4_amx_bf16x3 =
    Bf16x3::F4::dgrad_algorithm("conv2d_dgrad_winograd_f4_amx_bf16x3");
const Conv2dAlgorithm conv2d_dgrad_winograd_f2_amx_bf16x3 =
    Bf16x3::F2::dgrad_algorithm("conv2d_dgrad_winograd_f2_amx_bf16x3");

}  // namespace fastconv::cpu
#pragma GCC pop_options
#endif  // __x86_64__
