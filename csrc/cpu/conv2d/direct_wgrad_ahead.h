// The cache lines that the next pixels will need, fetched into L2 one for each step of the
// micro-kernel: what lies rows or planes apart no hardware prefetcher sees coming, and reading it
// when it is needed took as long as the products.
#pragma once

#include "cpu/conv2d/direct_wgrad_plan.h"

namespace fastconv::cpu {

class LinesAhead {
 public:
  // As many as the micro-kernel may take at once, and the most that are kept.
  static constexpr int64_t kStep = kLongestSum;
  static constexpr int64_t kMost = 4096;
  static constexpr int64_t kEntries = kMost + kStep;

  explicit LinesAhead(const void** entries) : entries_(entries) {}

  void start() { count_ = 0; }
  // So many channels of the pixels of the box that lie inside a tensor.
  void add(const float* at, const Strides4& strides, bool channels_inner, int64_t height,
           int64_t width, int64_t channels, const PixelBox& box);
  // Spread over so many steps: more misses at a time than a core has fill buffers hold up its
  // loads.
  void finish(int64_t steps);

  // For the next `count` steps: what is fetched in step i lies at entries[(from + i * pace) /
  // kWhole].
  struct Steps {
    const void* const* entries;
    int64_t from, pace;
  };
  static constexpr int64_t kWhole = 256;
  Steps take(int64_t count) {
    const int64_t from = next_, all = count_ * kWhole;
    next_ = from + count * pace_ < all ? from + count * pace_ : all;
    return {entries_, from, pace_};
  }

 private:
  void add_span(const float* from, int64_t elements);

  const void** entries_;
  int64_t count_ = 0, next_ = 0, pace_ = 0;
};

}  // namespace fastconv::cpu
