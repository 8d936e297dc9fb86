// Where the elements of an operand lie. The place of operand element (position, depth) of a product
// is a sum: an offset and a pixel (h, w) from the position alone, plus an offset and a pixel from
// the depth alone, with zero where the pixel lies outside the plane.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/device.h"

namespace fastconv::cuda {

// Where one coordinate of the product lies in a tensor: an element offset and a pixel.
template <class Index>
struct Place {
  Index offset, h, w;
};

// A pixel outside the plane may have an offset beyond the range of Index. It is never read, but the
// other half of the sum may bring it back inside, so that the arithmetic must wrap.
template <class Index>
__host__ __device__ Index wrapping_add(Index a, Index b) {
  using Unsigned = std::make_unsigned_t<Index>;
  return static_cast<Index>(static_cast<Unsigned>(a) + static_cast<Unsigned>(b));
}
template <class Index>
__host__ __device__ Index wrapping_multiply(Index a, Index b) {
  using Unsigned = std::make_unsigned_t<Index>;
  return static_cast<Index>(static_cast<Unsigned>(a) * static_cast<Unsigned>(b));
}

template <class Index>
__device__ bool inside(Index position, Index extent) {
  using Unsigned = std::make_unsigned_t<Index>;
  return static_cast<Unsigned>(position) < static_cast<Unsigned>(extent);
}

// The place of a row, column or depth that does not exist: no other half brings it into a plane,
// whose extents fits_int32() keeps below 2^30.
__device__ inline Place<int32_t> nowhere() { return {0, -(1 << 30), 0}; }

}  // namespace fastconv::cuda
