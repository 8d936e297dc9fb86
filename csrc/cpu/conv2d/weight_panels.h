// A weight packed once for all blocks of pixels, in one call or kept between calls. To be included
// under an instruction set's pragma.
#pragma once

#include <algorithm>

#include "cpu/conv2d/gather.h"
#include "cpu/conv2d/pack_sources.h"
#include "cpu/gemm/packing.h"
#include "cpu/parallel.h"

namespace fastconv::cpu {

// In the panels of B that the micro-kernel reads, by (row tap, column tap, channel) whatever the
// gather's own order is: their size and content depend on the weight alone.
template <class Target, class T>
class WeightPanels {
 public:
  using Accumulator = typename Storage<T>::Accumulator;
  using Shape = GemmShape<Target::kIsa, Accumulator>;

  // What a block of C has multiples of, unless it is the last.
  static constexpr TileUnits kUnits = {1, Shape::kTileColumns};
  // Whether there is a product of its own for each tap, that leaves out what lies in the padding.
  static constexpr bool kLeavesPaddingOut = true;

  // Only pixels x filters products take panels, the others read most weights where they lie.
  static bool serve(const Gather& gather) {
    return !gather.pixels_are_columns && gather.x.channel_innermost;
  }
  // Whether a call that is given none begins by packing. Each tap as a product of its own takes B
  // in panels: packed in turn, the weight would be read again for every block of pixels, a tap's
  // channels at a time.
  static bool are_packed_first(bool taps_are_products, int64_t /*blocks_of_pixels*/) {
    return taps_are_products;
  }

  explicit WeightPanels(const Gather& gather) : gather_(gather) {}

  int64_t panels_a_group() const { return ceil_div(gather_.filters, Shape::kTileColumns); }
  int64_t panel_stride() const { return gather_.x.depth() * Shape::kTileColumns; }
  int64_t size() const { return gather_.groups * panels_a_group() * panel_stride(); }

  void pack(const T* weight, Accumulator* panels, const Parallel& parallel) const {
    Im2col taps = gather_.x;
    taps.channel_innermost = true;
    const int64_t depth = taps.depth();
    // All taps of so many channels before the next: of a weight that is contiguous in its taps,
    // each is on the cache lines that the others brought to L1. 256 channels, which stay in L2,
    // took twice as long.
    constexpr int64_t kChannelsInL1 = 16;
    const int64_t apart =
        gather_.weight_filters_inner ? gather_.weight.filter_stride : gather_.weight.channel_stride;
    const int64_t most = apart == 1 ? Shape::kDepth : kChannelsInL1;
    parallel.for_each(gather_.groups * panels_a_group(), [&](int64_t task) {
      alignas(64) Accumulator stage[Shape::kTileColumns * Shape::kTileRowStride];
      const int64_t group = task / panels_a_group();
      const int64_t filter = task % panels_a_group() * Shape::kTileColumns;
      const int64_t left = gather_.filters - filter;
      const int64_t width = left < Shape::kTileColumns ? left : Shape::kTileColumns;
      WeightSource<Target, T> source(taps, gather_.weight, gather_.filters,
                                     gather_.weight_filters_inner);
      source.read_from(weight + group * gather_.w_group);
      const Operand<Target, Accumulator> operand{&source, !gather_.weight_filters_inner};
      Accumulator* const panel = panels + task * panel_stride();
      if (width < Shape::kTileColumns) std::fill_n(panel, panel_stride(), 0);
      for (int64_t channel = 0; channel < taps.channels; channel += most) {
        const int64_t left = taps.channels - channel;
        const int64_t size = left < most ? left : most;
        for (int64_t k = channel; k < depth; k += taps.channels) {
          pack_panels(operand, filter, width, k, size,
                      {nullptr, stage, panel + k * Shape::kTileColumns});
        }
      }
    });
  }

 private:
  const Gather& gather_;
};

}  // namespace fastconv::cpu
