// As csrc/cpu/conv2d/amx_convolution.cpp, with other tiles.
#if defined(__x86_64__)
#include "emulated_amx.h"

#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
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
#include "cpu/conv2d/winograd_plan.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/conv2d/zero_borders.h"
#include "cpu/conv2d/zero_fill.h"
#include "cpu/dispatch_dtype.h"
#include "cpu/largest.h"
#include "cpu/workspace.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c,avx2")
#include "cpu/conv2d/amx_convolution.h"
#include "cpu/conv2d/grouped_tiles_entries.h"
#include "cpu/conv2d/winograd_terms_algorithms.h"
#include "emulated_tiles.h"

namespace fastconv::test {
namespace {

using cpu::AmxConvolution;
using cpu::Conv2dAlgorithm;

using X1 = AmxConvolution<EmulatedTiles, 1>;
using X3 = AmxConvolution<EmulatedTiles, 2>;
using X6 = AmxConvolution<EmulatedTiles, 3>;

constexpr Conv2dAlgorithm kFpropX1 = X1::fprop_algorithm("emulated fprop_amx_bf16x1");
constexpr Conv2dAlgorithm kFpropX3 = X3::fprop_algorithm("emulated fprop_amx_bf16x3");
constexpr Conv2dAlgorithm kFpropX6 = X6::fprop_algorithm("emulated fprop_amx_bf16x6");
constexpr Conv2dAlgorithm kDgradX1 = X1::dgrad_algorithm("emulated dgrad_amx_bf16x1");
constexpr Conv2dAlgorithm kDgradX3 = X3::dgrad_algorithm("emulated dgrad_amx_bf16x3");
constexpr Conv2dAlgorithm kDgradX6 = X6::dgrad_algorithm("emulated dgrad_amx_bf16x6");
constexpr Conv2dAlgorithm kWgradX1 = X1::wgrad_algorithm("emulated wgrad_amx_bf16x1");
constexpr Conv2dAlgorithm kWgradX3 = X3::wgrad_algorithm("emulated wgrad_amx_bf16x3");
constexpr Conv2dAlgorithm kWgradX6 = X6::wgrad_algorithm("emulated wgrad_amx_bf16x6");

using WinogradX3 = cpu::WinogradOfTerms<EmulatedTiles, 2>;
using WinogradX6 = cpu::WinogradOfTerms<EmulatedTiles, 3>;

constexpr Conv2dAlgorithm kFpropF4X3 =
    WinogradX3::F4::fprop_algorithm("emulated fprop_winograd_f4_amx_bf16x3");
constexpr Conv2dAlgorithm kFpropF2X3 =
    WinogradX3::F2::fprop_algorithm("emulated fprop_winograd_f2_amx_bf16x3");
constexpr Conv2dAlgorithm kFpropF4X6 =
    WinogradX6::F4::fprop_algorithm("emulated fprop_winograd_f4_amx_bf16x6");
constexpr Conv2dAlgorithm kFpropF2X6 =
    WinogradX6::F2::fprop_algorithm("emulated fprop_winograd_f2_amx_bf16x6");
constexpr Conv2dAlgorithm kDgradF4X3 =
    WinogradX3::F4::dgrad_algorithm("emulated dgrad_winograd_f4_amx_bf16x3");
constexpr Conv2dAlgorithm kDgradF2X3 =
    WinogradX3::F2::dgrad_algorithm("emulated dgrad_winograd_f2_amx_bf16x3");
constexpr Conv2dAlgorithm kDgradF4X6 =
    WinogradX6::F4::dgrad_algorithm("emulated dgrad_winograd_f4_amx_bf16x6");
constexpr Conv2dAlgorithm kDgradF2X6 =
    WinogradX6::F2::dgrad_algorithm("emulated dgrad_winograd_f2_amx_bf16x6");

using GroupedX1 = cpu::GroupedOfTerms<EmulatedTiles, 1>;
using GroupedX3 = cpu::GroupedOfTerms<EmulatedTiles, 2>;

constexpr Conv2dAlgorithm kFpropGroupedX1 =
    GroupedX1::fprop_algorithm("emulated fprop_grouped_amx_bf16x1");
constexpr Conv2dAlgorithm kDgradGroupedX1 =
    GroupedX1::dgrad_algorithm("emulated dgrad_grouped_amx_bf16x1");
constexpr Conv2dAlgorithm kFpropGroupedX3 =
    GroupedX3::fprop_algorithm("emulated fprop_grouped_amx_bf16x3");
constexpr Conv2dAlgorithm kDgradGroupedX3 =
    GroupedX3::dgrad_algorithm("emulated dgrad_grouped_amx_bf16x3");

constexpr const Conv2dAlgorithm* kFprop[] = {&kFpropX1,   &kFpropX3,        &kFpropX6,
                                             &kFpropF4X3, &kFpropF2X3,      &kFpropF4X6,
                                             &kFpropF2X6, &kFpropGroupedX1, &kFpropGroupedX3};
constexpr const Conv2dAlgorithm* kDgrad[] = {&kDgradX1,   &kDgradX3,        &kDgradX6,
                                             &kDgradF4X3, &kDgradF2X3,      &kDgradF4X6,
                                             &kDgradF2X6, &kDgradGroupedX1, &kDgradGroupedX3};
constexpr const Conv2dAlgorithm* kWgrad[] = {&kWgradX1, &kWgradX3, &kWgradX6};

}  // namespace

void emulated_tile_product(float* c, const uint16_t* a, const uint16_t* b) {
  EmulatedTiles::configure(32);
  EmulatedTiles::load<0>(c, 64);
  EmulatedTiles::load<1>(a, 64);
  EmulatedTiles::load<2>(b, 64);
  EmulatedTiles::multiply_add<0, 1, 2>();
  EmulatedTiles::store<0>(c, 64);
  EmulatedTiles::release();
}

}  // namespace fastconv::test
#pragma GCC pop_options

namespace fastconv::test {

cpu::Conv2dList emulated_amx_fprop() { return kFprop; }
cpu::Conv2dList emulated_amx_dgrad() { return kDgrad; }
cpu::Conv2dList emulated_amx_wgrad() { return kWgrad; }

}  // namespace fastconv::test

#endif  // __x86_64__
