// From the sums of one filter's gradient to the weight. To be included under an instruction set's
// pragma.
#pragma once

#include "cpu/conv2d/store_rows.h"
#include "problem.h"

namespace fastconv::cpu {

// A filter whose taps lie one after another within each channel: vectors of channels, turned round.
template <class Target>
void store_taps_inner(const float* from, int64_t tap_stride, int64_t taps, int64_t channels,
                      float* to, int64_t channel_stride) {
  using Vector = typename Target::template Vector<float>;
  constexpr int64_t kLanes = Vector::kLanes;
  alignas(64) float turned[kLanes * kLanes];
  for (int64_t tap = 0; tap < taps; tap += kLanes) {
    const int64_t left = taps - tap < kLanes ? taps - tap : kLanes;
    const uint32_t lanes = first_lanes(left) & first_lanes(kLanes);
    for (int64_t c = 0; c < channels; c += kLanes) {
      alignas(64) float rows[kLanes * kLanes];
      for (int64_t t = 0; t < left; ++t) {
        Vector::store(rows + t * kLanes, Vector::load_unaligned(from + (tap + t) * tap_stride + c));
      }
      for (int64_t t = left; t < kLanes; ++t) Vector::store(rows + t * kLanes, Vector::zero());
      Vector::transpose(rows, kLanes, turned, kLanes);
      for (int64_t l = 0; l < kLanes && c + l < channels; ++l) {
        Vector::store_lanes(to + (c + l) * channel_stride + tap, Vector::load(turned + l * kLanes),
                            lanes);
      }
    }
  }
}

// A filter of R x S taps, each tap's channels in whole vectors, `tap_stride` apart.
template <class Target>
void store_filter(const float* from, int64_t tap_stride, int64_t R, int64_t S, int64_t channels,
                  float* to, const Strides4& strides) {
  if (strides.c != 1 && strides.w == 1 && strides.h == S) {
    store_taps_inner<Target>(from, tap_stride, R * S, channels, to, strides.c);
    return;
  }
  for (int64_t r = 0; r < R; ++r) {
    for (int64_t s = 0; s < S; ++s, from += tap_stride) {
      store_row<Target>(from, channels, to + r * strides.h + s * strides.w, strides.c);
    }
  }
}

}  // namespace fastconv::cpu
