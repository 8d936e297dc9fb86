// The depth of wgrad, all output pixels, is long where the rest is small, so it is split: each
// split writes its own sums and a second kernel adds them in order. No atomics, the same bits every
// time.
#pragma once

#include "cuda/algorithm.h"

namespace fastconv::cuda {

struct Splits {
  int64_t count, depth;
};

// Splits for a product in tiles of `tile` rows and columns, none longer than `longest` where that
// is not too much memory.
Splits split_pixels(const Conv2dProblem& p, const Device& device, int64_t tile, int64_t longest);

// How the sums lie: [split][group][filter][column], where a column is a tap and channel, channels
// fastest or slowest; filters and channels are counted in a group, those that fill it up included.
struct SumsLayout {
  int64_t filters, channels;
  bool channels_fastest;
};

// Bytes of the sums of all splits.
int64_t sums_bytes(const Conv2dProblem& p, const Splits& splits, const SumsLayout& layout);

// Enqueues weight[k, c, r, s] = the sum of its splits, in order.
void add_splits(const Conv2dProblem& p, const Splits& splits, const SumsLayout& layout,
                const std::byte* sums, void* weight, const Queue& queue);

}  // namespace fastconv::cuda
