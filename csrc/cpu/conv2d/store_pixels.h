// From sums whose filters are neighbours to a tensor of any layout. To be included under an
// instruction set's pragma.
#pragma once

#include <type_traits>

#include "cpu/conv2d/store_rows.h"

namespace fastconv::cpu {

// to[p * to_pixel + f * to_filter] = sums[p * sums_pixel + f], rounded once, for at most one vector
// of filters. May read kLanes pixels past the last.
template <class Target, class T>
void store_pixels(const float* sums, int64_t sums_pixel, int64_t pixels, int64_t filters, T* to,
                  int64_t to_pixel, int64_t to_filter) {
  using Vector = typename Target::template Vector<float>;
  constexpr int64_t kLanes = Vector::kLanes;
  const uint32_t lanes = first_lanes(filters) & first_lanes(kLanes);
  if (to_filter == 1) {
    for (int64_t p = 0; p < pixels; ++p) {
      Vector::store_lanes(to + p * to_pixel, Vector::load(sums + p * sums_pixel), lanes);
    }
    return;
  }
  alignas(64) float square[kLanes * kLanes];
  for (int64_t p = 0; p < pixels; p += kLanes) {
    const int64_t left = pixels - p;
    if constexpr (std::is_same_v<T, float>) {
      if (to_pixel == 1 && left >= kLanes && filters >= kLanes) {
        Vector::transpose(sums + p * sums_pixel, sums_pixel, to + p, to_filter);
        continue;
      }
    }
    Vector::transpose(sums + p * sums_pixel, sums_pixel, square, kLanes);
    for (int64_t f = 0; f < filters; ++f) {
      store_row<Target>(square + f * kLanes, left < kLanes ? left : kLanes,
                        to + p * to_pixel + f * to_filter, to_pixel);
    }
  }
}

}  // namespace fastconv::cpu
