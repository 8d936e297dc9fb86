#include "cpu/conv2d/dot_rows.h"

#include <algorithm>
#include <array>
#include <functional>

#include "cpu/conv2d/neighbours.h"

namespace fastconv::cpu {
namespace {

// Whether the elements of a filter fill one piece of memory, in whatever order.
bool filters_are_rows(const Conv2dProblem& p) {
  std::array<Dimension, 3> of_filter{
      {{p.group_in_channels(), p.weight.c}, {p.R, p.weight.h}, {p.S, p.weight.w}}};
  std::ranges::sort(of_filter, std::ranges::greater{}, &Dimension::stride);
  return are_neighbours(of_filter);
}

}  // namespace

const char* reject_dot_products(const Conv2dProblem& p) {
  if (p.N == 0 || p.C == 0 || p.K == 0 || p.P == 0 || p.Q == 0) {
    return "is for tensors that are not empty";
  }
  if (p.N > kMostDotPixels || p.P > kMostDotPixels || p.Q > kMostDotPixels ||
      p.N * p.P * p.Q > kMostDotPixels) {
    return "is for at most 4 pixels of output";
  }
  return filters_are_rows(p) ? nullptr : "is for weights whose filters are contiguous";
}

int64_t threads_for_rows(const Conv2dProblem& p, int threads) {
  // Waking one takes as long as some ten thousand products.
  constexpr int64_t kLeast = int64_t{1} << 14;
  const int64_t wanted = p.K * p.group_in_channels() * p.R * p.S / kLeast;
  return std::clamp<int64_t>(wanted, 1, threads);
}

}  // namespace fastconv::cpu
