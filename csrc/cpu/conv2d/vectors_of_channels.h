// Planes of a tensor as float vectors of neighbouring channels, [row][column][lane], whatever its
// layout. To be included under an instruction set's pragma.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cpu/dtype.h"
#include "cpu/gemm/blocking.h"
#include "problem.h"

namespace fastconv::cpu {

template <class Target, class T>
class VectorsOfChannels {
 public:
  using Vector = typename Target::template Vector<float>;
  static constexpr int64_t kLanes = Vector::kLanes;
  // Columns past the last one whose vectors may be overwritten.
  static constexpr int64_t kSlack = kLanes;

  // `channels` channels of one image, from `planes` on; rows and columns outside height and width
  // read as zero.
  VectorsOfChannels(const T* planes, const Strides4& strides, int64_t channels, int64_t height,
                    int64_t width)
      : planes_(planes), strides_(strides), channels_(channels), height_(height), width_(width) {}

  // pixel: floats from one vector to the next, a multiple of kLanes.
  void copy(Range rows, Range columns, float* to, int64_t pixel = kLanes) const {
    const int64_t begin = inside(-columns.begin, columns.size);
    const int64_t end = inside(width_ - columns.begin, columns.size);
    for (int64_t i = 0; i < rows.size; ++i, to += columns.size * pixel) {
      const int64_t row = rows.begin + i;
      if (row < 0 || row >= height_ || begin >= end) {
        clear(to, 0, columns.size, pixel);
        continue;
      }
      const T* const from = planes_ + row * strides_.h;
      if (strides_.c == 1) {
        copy_pixels(from, columns.begin, begin, end, to, pixel);
      } else if (strides_.w == 1) {
        turn_rows(from + columns.begin + begin, end - begin, to + begin * pixel, pixel);
      } else {
        gather(from, columns.begin, begin, end, to, pixel);
      }
      clear(to, 0, begin, pixel);
      clear(to, end, columns.size, pixel);
    }
  }

 private:
  static int64_t inside(int64_t column, int64_t columns) {
    return column < 0 ? 0 : column < columns ? column : columns;
  }

  static void clear(float* to, int64_t begin, int64_t end, int64_t pixel) {
    for (int64_t i = begin; i < end; ++i) Vector::store(to + i * pixel, Vector::zero());
  }

  void copy_pixels(const T* from, int64_t column, int64_t begin, int64_t end, float* to,
                   int64_t pixel) const {
    const uint32_t lanes = first_lanes(channels_) & first_lanes(kLanes);
    for (int64_t i = begin; i < end; ++i) {
      const T* const channels = from + (column + i) * strides_.w;
      Vector::store(to + i * pixel, Vector::load_lanes(channels, lanes));
      // Pixels are too far apart for the hardware to see the next ones coming.
      __builtin_prefetch(channels + 16 * strides_.w);
    }
  }

  // Squares of as many columns as a vector has lanes. The last may run over the end.
  void turn_rows(const T* from, int64_t count, float* to, int64_t pixel) const {
    alignas(64) float square[kLanes * kLanes];
    for (int64_t i = 0; i < count; i += kLanes) {
      const int64_t left = count - i;
      const uint32_t lanes = first_lanes(left) & first_lanes(kLanes);
      if constexpr (std::is_same_v<T, float>) {
        if (left >= kLanes && channels_ >= kLanes) {
          Vector::transpose(from + i, strides_.c, to + i * pixel, pixel);
          continue;
        }
      }
      for (int64_t c = 0; c < kLanes; ++c) {
        Vector::store(
            square + c * kLanes,
            c < channels_ ? Vector::load_lanes(from + c * strides_.c + i, lanes) : Vector::zero());
      }
      Vector::transpose(square, kLanes, to + i * pixel, pixel);
    }
  }

  void gather(const T* from, int64_t column, int64_t begin, int64_t end, float* to,
              int64_t pixel) const {
    for (int64_t i = begin; i < end; ++i) {
      const T* const channels = from + (column + i) * strides_.w;
      for (int64_t c = 0; c < kLanes; ++c) {
        to[i * pixel + c] = c < channels_ ? Storage<T>::load(channels[c * strides_.c]) : 0;
      }
    }
  }

  const T* planes_;
  Strides4 strides_;
  int64_t channels_, height_, width_;
};

}  // namespace fastconv::cpu
