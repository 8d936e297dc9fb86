// The two ends of Winograd's gradient of the weight that the convolution itself does not have: from
// grad_output to M, and from the sums U to the weight. To be included under an instruction set's
// pragma.
#pragma once

#include "cpu/conv2d/store_filter.h"
#include "cpu/conv2d/winograd_pixels.h"
#include "cpu/conv2d/winograd_plan.h"
#include "cpu/conv2d/winograd_transform.h"

namespace fastconv::cpu {

template <class Target, template <class> class Method>
class WinogradWgradTiles {
 public:
  using Vector = typename Target::template Vector<float>;
  using Type = typename Vector::Type;
  using Transform = Method<Target>;
  static constexpr int kLanes = Vector::kLanes;
  static constexpr int kPoints = Transform::kPoints;
  static constexpr int kOutputs = Transform::kOutputs;
  static constexpr int kSide = Transform::kTaps;
  static constexpr int64_t kTaps = kSide * kSide;
  using Pixels = WinogradPixels<Target, kOutputs, kPoints>;

  WinogradWgradTiles(const WinogradConv& conv, const WinogradPlan& plan)
      : conv_(conv), plan_(plan) {}

  // M of filters [filter, filter + kLanes) for the tiles of a run; zero past the edges of
  // grad_output. scratch: Pixels::kScratchFloats.
  void transform_grad_output(const float* grad, int64_t filter, const TileRun& run, float* m,
                             float* scratch) const {
    const TilePixels<float> pixels{grad + filter * conv_.y.c,
                                   conv_.y,
                                   conv_.filters - filter,
                                   conv_.out_height,
                                   conv_.out_width,
                                   0,
                                   0};
    const typename Pixels::template Tiles<kOutputs, float> tiles(pixels, run, conv_.dilation,
                                                                 scratch);
    const int64_t point = plan_.block_tiles * plan_.m_stride;
    float* to = m + run.first * plan_.m_stride + filter;
    for (int64_t t = 0; t < run.size(); ++t, to += plan_.m_stride) {
      const TileView from = tiles.tile(t);
      transform_square<Target, kOutputs, kPoints>(
          [](const Type* d, Type* m) { Transform::grad_output(d, m); },
          [&](int i, int j) {
            return Vector::load_unaligned(from.at + i * from.row + j * from.column);
          },
          [&](int i, int j, Type value) { Vector::store(to + (i * kPoints + j) * point, value); });
    }
  }

  // One filter of the weight from its sums, which lie in panels of channels, points a `point`
  // apart; added to what the weight holds where there is any. False where one is not finite. taps:
  // kTaps whole vectors of channels.
  bool transform_sums(const float* u, int64_t point, float* taps, float* weight,
                      bool accumulate) const {
    const int64_t tap_stride = plan_.lane_channels;
    for (int64_t c = 0; c < conv_.channels; c += kLanes) {
      const float* const sums = u + c / plan_.panel * plan_.panel * plan_.filters + c % plan_.panel;
      transform_square<Target, kPoints, kSide>(
          [](const Type* products, Type* g) { Transform::grad_weight(products, g); },
          [&](int i, int j) { return Vector::load(sums + (i * kPoints + j) * point); },
          [&](int i, int j, Type value) {
            Vector::store(taps + (kSide * i + j) * tap_stride + c, value);
          });
    }
    if (accumulate) add_weight(weight, taps, tap_stride);
    store_filter<Target>(taps, tap_stride, kSide, kSide, conv_.channels, weight, conv_.weight);
    return all_finite(taps, kTaps * tap_stride);
  }

 private:
  static bool all_finite(const float* from, int64_t count) {
    Type not_finite = Vector::zero();
    for (int64_t i = 0; i < count; i += kLanes) {
      Lanes<Target>::note_infinite(Vector::load(from + i), not_finite);
    }
    return Lanes<Target>::all_finite(not_finite, first_lanes(kLanes));
  }

  void add_weight(const float* weight, float* taps, int64_t tap_stride) const {
    const Strides4& s = conv_.weight;
    for (int64_t t = 0; t < kTaps; ++t) {
      const float* const tap = weight + t / kSide * s.h + t % kSide * s.w;
      for (int64_t c = 0; c < conv_.channels; ++c) taps[t * tap_stride + c] += tap[c * s.c];
    }
  }

  const WinogradConv& conv_;
  const WinogradPlan& plan_;
};

}  // namespace fastconv::cpu
