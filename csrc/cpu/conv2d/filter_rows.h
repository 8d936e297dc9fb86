// A weight as the right-hand side of col2im's product: a row for each filter, a column for each
// channel of a block and tap, in the order in which they lie in memory. To be included under an
// instruction set's pragma.
#pragma once

#include "cpu/conv2d/col2im_plan.h"
#include "cpu/conv2d/pack_sources.h"
#include "cpu/gemm/packing.h"

namespace fastconv::cpu {

// Outer: filters, the reduction. Inner: columns, in pieces of neighbours: all of them, or the
// channels of the block for one tap.
template <class Target, class T>
class FilterRows final : public PackSource<Target, PackedAs<Target, T>> {
 public:
  using Packed = PackedAs<Target, T>;
  using Shape = GemmShape<Target::kIsa, Packed>;

  FilterRows(const Conv2dProblem& p, const Col2imPlan& plan)
      : stride_(p.weight.n),
        channels_(p.group_in_channels()),
        taps_(plan.taps),
        last_row_((p.group_out_channels() - 1) * p.weight.n),
        channels_inner_(plan.order == FilterOrder::channels_inner) {}

  // weight: of a group. channels: the block's.
  void read_from(const T* weight, Range channels) {
    group_ = weight;
    first_ = weight + channels.begin * (channels_inner_ ? 1 : taps_);
    const bool whole = !channels_inner_ || channels.size == channels_;
    piece_ = channels.size * (whole ? taps_ : 1);
  }

  void pack(const PackBlock& block, Packed* to, const PackedLayout& layout) override {
    for (int64_t o = 0; o < block.outer_size; ++o) {
      const T* const row = first_ + (block.outer_begin + o) * stride_;
      Packed* const to_row = to + o * layout.outer_stride;
      for (int64_t done = 0; done < block.inner_size;) {
        const int64_t column = block.inner_begin + done;
        const int64_t in_panel = done % Shape::kTileColumns;
        int64_t run = piece_ - column % piece_;
        if (run > block.inner_size - done) run = block.inner_size - done;
        if (run > Shape::kTileColumns - in_panel) run = Shape::kTileColumns - in_panel;
        widen_run<Target>(row + offset_of(column),
                          to_row + done / Shape::kTileColumns * layout.panel_stride + in_panel,
                          run);
        done += run;
      }
    }
  }

  int64_t stride_in_place() const override { return std::is_same_v<T, Packed> ? stride_ : 0; }
  // Past the last column a vector reads what follows in memory, as far as the group's weight goes.
  PanelOfB<Packed> panel_in_place(int64_t begin, int64_t size, Range k) override {
    if constexpr (std::is_same_v<T, Packed>) {
      if (begin % piece_ + size > piece_) return {};
      const T* const at = first_ + offset_of(begin) + k.begin * stride_;
      const T* const end = group_ + last_row_ + channels_ * taps_;
      if (at + (k.size - 1) * stride_ + round_up(size, Shape::kLanes) <= end) return {at, stride_};
    }
    return {};
  }

 private:
  int64_t offset_of(int64_t column) const { return column / piece_ * channels_ + column % piece_; }

  int64_t stride_;    // from one filter to the next
  int64_t channels_;  // of the group
  int64_t taps_;
  int64_t last_row_;
  bool channels_inner_;
  const T* group_ = nullptr;
  const T* first_ = nullptr;  // of the block's columns
  int64_t piece_ = 1;
};

}  // namespace fastconv::cpu
