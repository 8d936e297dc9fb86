// From the sums of a block to the weight. To be included under an instruction set's pragma.
#pragma once

#include "cpu/conv2d/direct_wgrad_plan.h"
#include "cpu/conv2d/store_rows.h"
#include "cpu/gemm/packing.h"

namespace fastconv::cpu {

// A filter whose taps lie one after another within each channel: vectors of channels, turned round.
template <class Target>
void store_taps_inner(const float* from, int64_t tap_stride, int64_t taps, int64_t channels,
                      float* to, int64_t channel_stride) {
  using Vector = typename Target::template Vector<float>;
  constexpr int64_t kLanes = Vector::kLanes;
  alignas(64) float turned[kLanes * kLanes];
  for (int64_t tap = 0; tap < taps; tap += kLanes) {
    const int64_t left = taps - tap < kLanes ? taps - tap : kLanes;
    const uint32_t lanes = first_lanes(left) & first_lanes(kLanes);
    for (int64_t c = 0; c < channels; c += kLanes) {
      alignas(64) float rows[kLanes * kLanes];
      for (int64_t t = 0; t < left; ++t) {
        Vector::store(rows + t * kLanes, Vector::load_unaligned(from + (tap + t) * tap_stride + c));
      }
      for (int64_t t = left; t < kLanes; ++t) Vector::store(rows + t * kLanes, Vector::zero());
      Vector::transpose(rows, kLanes, turned, kLanes);
      for (int64_t l = 0; l < kLanes && c + l < channels; ++l) {
        Vector::store_lanes(to + (c + l) * channel_stride + tap, Vector::load(turned + l * kLanes),
                            lanes);
      }
    }
  }
}

template <class Target>
void store_filter_of_block(const DirectWgradPlan& plan, const WgradBlock& block, const float* from,
                           int64_t tap_stride, float* to) {
  const Conv2dProblem& p = plan.p;
  if (p.weight.c != 1 && p.weight.w == 1 && p.weight.h == p.S) {
    store_taps_inner<Target>(from, tap_stride, plan.taps(), block.channels.size, to, p.weight.c);
    return;
  }
  for (int64_t r = 0; r < p.R; ++r) {
    for (int64_t s = 0; s < p.S; ++s, from += tap_stride) {
      store_row<Target>(from, block.channels.size, to + r * p.weight.h + s * p.weight.w,
                        p.weight.c);
    }
  }
}

template <class Target>
void store_wgrad(const DirectWgradPlan& plan, const WgradBlock& block, const float* sums,
                 float* weight) {
  const Conv2dProblem& p = plan.p;
  const int64_t stride = plan.block_stride();
  float* const to = weight + block.weight_offset(p);
  for (int64_t f = 0; f < block.filters.size; ++f) {
    if (!plan.channels_are_rows) {
      store_filter_of_block<Target>(plan, block, sums + f * stride, block.tap_stride(),
                                    to + f * p.weight.n);
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
