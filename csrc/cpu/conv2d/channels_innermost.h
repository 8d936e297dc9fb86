// An image of planes copied with its channels innermost. Packed from planes, where the few pixels
// of every channel lie on a page of their own, tiles of pixels took 18 ms longer than from
// channels_last (76 against 58: 2048 channels of 33 x 33); with the copy it is 3 to 8. To be
// included under an instruction set's pragma.
#pragma once

#include <type_traits>

#include "cpu/conv2d/gather.h"
#include "cpu/dtype.h"
#include "cpu/gemm/packing.h"
#include "cpu/parallel.h"

namespace fastconv::cpu {

template <class Target, class T>
class ChannelsInnermost {
 public:
  explicit ChannelsInnermost(const Gather& from)
      : groups_(from.groups), x_(from.x), group_(from.x_group) {}

  int64_t elements() const { return groups_ * x_.images * x_.height * x_.width * x_.channels; }

  void copy(const T* from, T* to, const Parallel& parallel) const {
    // Rows that follow one another are one.
    const bool whole = x_.strides.h == x_.width * x_.strides.w;
    const int64_t lines = whole ? 1 : x_.height;
    const int64_t width = whole ? x_.height * x_.width : x_.width;
    const int64_t chunks = ceil_div(width, kPixels), blocks = ceil_div(x_.channels, kChannels);
    const int64_t planes = groups_ * x_.images;
    parallel.for_each(planes * lines * chunks * blocks, [&](int64_t task) {
      const int64_t block = task % blocks * kChannels, chunk = task / blocks % chunks * kPixels;
      const int64_t line = task / blocks / chunks % lines, plane = task / blocks / chunks / lines;
      const int64_t group = plane / x_.images, image = plane % x_.images;
      const int64_t channels_left = x_.channels - block, pixels_left = width - chunk;
      turn(from + group * group_ + image * x_.strides.n + block * x_.strides.c +
               line * x_.strides.h + chunk * x_.strides.w,
           channels_left < kChannels ? channels_left : kChannels,
           pixels_left < kPixels ? pixels_left : kPixels,
           to + ((plane * lines + line) * width + chunk) * x_.channels + block);
    });
  }

 private:
  static constexpr int64_t kPixels = 128, kChannels = 64;

  void turn(const T* from, int64_t channels, int64_t pixels, T* to) const {
    using Accumulator = typename Storage<T>::Accumulator;
    if constexpr (std::is_same_v<T, Accumulator>) {
      if (x_.strides.w == 1) {
        transpose<Target>(from, x_.strides.c, channels, pixels, to, x_.channels);
        return;
      }
    }
    for (int64_t i = 0; i < pixels; ++i) {
      for (int64_t c = 0; c < channels; ++c) {
        to[i * x_.channels + c] = from[c * x_.strides.c + i * x_.strides.w];
      }
    }
  }

  int64_t groups_;
  Im2col x_;
  int64_t group_;
};

}  // namespace fastconv::cpu
