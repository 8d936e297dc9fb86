// How pooling divides its work: contiguous shares of equal size, as many as threads, fewer where
// there is little to do.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fastconv::cpu {

constexpr int64_t kCacheLine = 64;

// x >= 0, and no divisor is too large.
constexpr int64_t divide_up(int64_t x, int64_t divisor) {
  return x / divisor + (x % divisor == 0 ? 0 : 1);
}

constexpr int64_t round_up(int64_t x, int64_t multiple) {
  return divide_up(x, multiple) * multiple;
}

struct Share {
  int64_t begin, end;
};

static inline Share share_of(int64_t count, int64_t task, int64_t tasks) {
  const int64_t each = count / tasks, left_over = count % tasks;
  const int64_t begin = task * each + std::min(task, left_over);
  return {begin, begin + each + (task < left_over ? 1 : 0)};
}

// `cells` is what the whole problem reads. Waking a thread costs some microseconds, in which one
// thread reads about 2^14 cells.
static inline int64_t task_count(int64_t cells, int threads) {
  constexpr int64_t kLeastCells = int64_t{1} << 14;
  return std::clamp<int64_t>(cells / kLeastCells, 1, threads);
}

}  // namespace fastconv::cpu
