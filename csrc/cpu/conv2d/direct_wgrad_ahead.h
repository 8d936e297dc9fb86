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

  // To be spread over so many steps: more misses at a time than a core has fill buffers hold up its
  // loads. About so many elements; where they are more lines than steps, of what lies dense only
  // every second line is fetched, and L2's prefetcher brings its neighbour: 3 to 10 % of the time
  // of 1x1 windows with few filters. Elsewhere that lost as much.
  void start(int64_t elements, int64_t steps);
  // So many channels of the pixels of the box that lie inside a tensor.
  void add(const float* at, const Strides4& strides, bool channels_inner, int64_t height,
           int64_t width, int64_t channels, const PixelBox& box);
  void finish();

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
  static constexpr int64_t kLine = 64 / sizeof(float);

  void add_span(const float* from, int64_t elements, int64_t step);

  const void** entries_;
  int64_t count_ = 0, next_ = 0, pace_ = 0;
  int64_t steps_ = 1, dense_step_ = kLine;
};

}  // namespace fastconv::cpu
