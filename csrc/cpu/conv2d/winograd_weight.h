// Winograd's transform of the weight: U[e] = G g G^T for every filter and channel. To be included
// under an instruction set's pragma.
#pragma once

#include "cpu/conv2d/transpose_to_floats.h"
#include "cpu/conv2d/winograd_plan.h"
#include "cpu/conv2d/winograd_transform.h"
#include "cpu/parallel.h"

namespace fastconv::cpu {

template <class Target, template <class> class Method>
class WinogradWeight {
 public:
  using Vector = typename Target::template Vector<float>;
  using Type = typename Vector::Type;
  using Transform = Method<Target>;
  static constexpr int kLanes = Vector::kLanes;
  static constexpr int kPoints = Transform::kPoints;
  static constexpr int kSide = Transform::kTaps, kTaps = kSide * kSide;

  WinogradWeight(const WinogradConv& conv, const WinogradPlan& plan) : conv_(conv), plan_(plan) {}

  // arrays.keep_weight(u, filter, channel, whole) takes all points of kTogether channels of
  // kLanes filters, zeros where there are none.
  template <class T, class Arrays>
  void transform(const T* weight, const Arrays& arrays, std::byte* u,
                 const Parallel& parallel) const {
    const int64_t filter_blocks = plan_.panels * (plan_.panel / kLanes);
    const int64_t channel_blocks = ceil_div(plan_.channels, kChannels);
    parallel.for_each(filter_blocks * channel_blocks, [&](int64_t task) {
      transform_block(weight + conv_.weight_offset, arrays, u, task % filter_blocks * kLanes,
                      task / filter_blocks * kChannels);
    });
  }

 private:
  // Channels of one task: their taps fill 18 KB of L1 with AVX-512, those of 5x5 windows 25 KB.
  static constexpr int64_t kChannels = kSide == 3 ? 32 : 16;

  template <class T, class Arrays>
  void transform_block(const T* weight, const Arrays& arrays, std::byte* u, int64_t filter,
                       int64_t channel) const {
    constexpr int kTogether = Arrays::kChannelsTogether;
    alignas(64) float taps[kChannels * kTaps * kLanes];
    const int64_t channels_left = plan_.channels - channel;
    const int64_t channels = channels_left < kChannels ? channels_left : kChannels;
    const int64_t filters_left = plan_.filters - filter;
    const int64_t filters = filters_left < kLanes ? filters_left : int64_t{kLanes};
    gather_taps(weight + filter * conv_.weight.n + channel * conv_.weight.c,
                filters > 0 ? filters : 0, channels, taps);
    const int64_t whole = round_up(channels, Arrays::kChannelUnit);
    for (int64_t i = channels * kTaps * kLanes; i < whole * kTaps * kLanes; ++i) taps[i] = 0;
    for (int64_t c = 0; c < whole; c += kTogether) {
      Type points[kTogether][kPoints * kPoints];
#pragma GCC unroll 2
      for (int i = 0; i < kTogether; ++i) {
        const float* const g = taps + (c + i) * kTaps * kLanes;
        transform_square<Target, kSide, kPoints>(
            [](const Type* from, Type* to) { Transform::weight(from, to); },
            [&](int row, int column) { return Vector::load(g + (kSide * row + column) * kLanes); },
            [&](int row, int column, Type value) { points[i][row * kPoints + column] = value; });
      }
      arrays.keep_weight(u, filter, channel + c, points);
    }
  }

  // taps[channel][tap][lane] of `filters` lanes, the lanes past them zero.
  template <class T>
  void gather_taps(const T* from, int64_t filters, int64_t channels, float* taps) const {
    const Strides4& s = conv_.weight;
    if (filters == kLanes && s.n == 1) {
      for (int64_t c = 0; c < channels; ++c) {
        for (int t = 0; t < kTaps; ++t) {
          const Type x = Vector::load_lanes(from + c * s.c + t / kSide * s.h + t % kSide * s.w,
                                            first_lanes(kLanes));
          Vector::store(taps + (c * kTaps + t) * kLanes, x);
        }
      }
    } else if (filters == kLanes && s.w == 1 && s.h == kSide && s.c == kTaps) {
      // A filter's taps of all these channels are one run.
      const int64_t run = channels * kTaps;
      int64_t i = 0;
      for (; i + kLanes <= run; i += kLanes) {
        transpose_to_floats<Target>(from + i, s.n, taps + i * kLanes, kLanes);
      }
      for (; i < run; ++i) gather_lane(from + i, filters, taps + i * kLanes);
    } else if (filters == kLanes && s.c == 1) {
      gather_channels(from, channels, taps);
    } else if (filters == kLanes && s.n == kTaps && s.w == -1 && s.h == -kSide) {
      gather_turned(from, channels, taps);
    } else {
      for (int64_t c = 0; c < channels; ++c) {
        for (int t = 0; t < kTaps; ++t) {
          gather_lane(from + c * s.c + t / kSide * s.h + t % kSide * s.w, filters,
                      taps + (c * kTaps + t) * kLanes);
        }
      }
    }
  }

  // channels_last: a square of filters and channels at a time.
  template <class T>
  void gather_channels(const T* from, int64_t channels, float* taps) const {
    const Strides4& s = conv_.weight;
    for (int t = 0; t < kTaps; ++t) {
      const T* const tap = from + t / kSide * s.h + t % kSide * s.w;
      float* const to = taps + t * kLanes;
      int64_t c = 0;
      for (; c + kLanes <= channels; c += kLanes) {
        transpose_to_floats<Target>(tap + c, s.n, to + c * kTaps * kLanes, kTaps * kLanes);
      }
      for (; c < channels; ++c) gather_lane(tap + c, kLanes, to + c * kTaps * kLanes);
    }
  }

  // dgrad of a contiguous weight: of each channel the filters' taps are one run, backwards.
  template <class T>
  void gather_turned(const T* from, int64_t channels, float* taps) const {
    constexpr int64_t kRun = kLanes * kTaps;
    // A transpose reads past the last filter's taps.
    alignas(64) float run[kRun + kLanes] = {};
    alignas(64) float turned[round_up(kTaps, kLanes) * kLanes];
    for (int64_t c = 0; c < channels; ++c) {
      const T* const first = from + c * conv_.weight.c - (kTaps - 1);
      for (int64_t i = 0; i < kRun; i += kLanes) {
        Vector::store(run + i, Vector::load_lanes(first + i, first_lanes(kLanes)));
      }
      for (int t = 0; t < kTaps; t += kLanes) {
        Vector::transpose(run + t, kTaps, turned + t * kLanes, kLanes);
      }
      for (int t = 0; t < kTaps; ++t) {
        Vector::store(taps + (c * kTaps + t) * kLanes,
                      Vector::load(turned + (kTaps - 1 - t) * kLanes));
      }
    }
  }

  template <class T>
  void gather_lane(const T* from, int64_t filters, float* to) const {
    for (int64_t l = 0; l < kLanes; ++l) {
      to[l] = l < filters ? Storage<T>::load(from[l * conv_.weight.n]) : 0.0F;
    }
  }

  const WinogradConv& conv_;
  const WinogradPlan& plan_;
};

}  // namespace fastconv::cpu
