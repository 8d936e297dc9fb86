// Whether elements are neighbours in memory.
#pragma once

#include <array>
#include <cstdint>

namespace fastconv::cpu {

struct Dimension {
  int64_t size, stride;
};

// In this order of their dimensions, the last fastest. Strides of an extent of one may be anything.
inline bool are_neighbours(const std::array<Dimension, 3>& dimensions) {
  int64_t filled = 1;
  for (auto at = dimensions.rbegin(); at != dimensions.rend(); ++at) {
    if (at->size == 1) continue;
    if (at->stride != filled) return false;
    filled *= at->size;
  }
  return true;
}

}  // namespace fastconv::cpu
