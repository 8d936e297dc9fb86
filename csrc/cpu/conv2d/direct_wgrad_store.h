// From the sums of a block to the weight. To be included under an instruction set's pragma.
#pragma once

#include "cpu/conv2d/direct_wgrad_plan.h"
#include "cpu/conv2d/store_filter.h"

namespace fastconv::cpu {

template <class Target>
void store_wgrad(const DirectWgradPlan& plan, const WgradBlock& block, const float* sums,
                 float* weight) {
  const Conv2dProblem& p = plan.p;
  const int64_t stride = plan.block_stride();
  float* const to = weight + block.weight_offset(p);
  for (int64_t f = 0; f < block.filters.size; ++f) {
    if (!plan.channels_are_rows) {
      store_filter<Target>(sums + f * stride, block.tap_stride(), p.R, p.S, block.channels.size,
                           to + f * p.weight.n, p.weight);
      continue;
    }
    // A filter is a column of the sums.
    const float* from = sums + f;
    for (int64_t r = 0; r < p.R; ++r) {
      for (int64_t s = 0; s < p.S; ++s) {
        float* const tap = to + f * p.weight.n + r * p.weight.h + s * p.weight.w;
        for (int64_t c = 0; c < block.channels.size; ++c, from += stride) {
          tap[c * p.weight.c] = *from;
        }
      }
    }
  }
}

}  // namespace fastconv::cpu
