// A weight as bfloat16 tiles, made once for all blocks of pixels. To be included under the AVX-512
// pragma.
#pragma once

#include "cpu/amx/gemm_block.h"
#include "cpu/conv2d/weight_panels.h"

namespace fastconv::cpu {

// As tiles of A or of B and in the order of the reduction, whichever the gather has: 32 filters for
// the whole reduction at a time.
template <class Tiles, int kTerms, int kProducts, class T>
class WeightPanels<AmxTarget<Tiles, kTerms, kProducts>, T> {
 public:
  using Target = AmxTarget<Tiles, kTerms, kProducts>;
  using Packed = PackedAs<Target, T>;
  using Shape = GemmShape<Isa::amx, Packed>;

  static constexpr TileUnits kUnits = {Shape::kTileRows, Shape::kTileColumns};
  static constexpr bool kLeavesPaddingOut = false;

  static bool serve(const Gather&) { return true; }
  // Splitting takes as long as the products with 20 to 60 pixels; a single block reads the weight
  // as it comes.
  static bool are_packed_first(bool /*taps_are_products*/, int64_t blocks_of_pixels) {
    return blocks_of_pixels > 1;
  }

  explicit WeightPanels(const Gather& gather) : gather_(gather) {}

  int64_t panels_a_group() const { return ceil_div(gather_.filters, kFilters); }
  // In bytes, as is size().
  int64_t panel_stride() const { return ceil_div(gather_.x.depth(), kAmxStep) * kStepBytes; }
  int64_t size() const { return gather_.groups * panels_a_group() * panel_stride(); }

  void pack(const T* weight, std::byte* panels, const Parallel& parallel) const {
    parallel.for_each(gather_.groups * panels_a_group(), [&](int64_t task) {
      using Scratch = PackScratch<Target, Packed>;
      // 100 KB for floats, 200 for bfloat16.
      alignas(64) Packed tile[Scratch::kTileElements];
      alignas(64) Packed stage[Scratch::kTileElements];
      alignas(64) Packed block[kFilters * Shape::kDepth];
      const Scratch scratch{tile, stage, block};
      WeightSource<Target, T> source(gather_.x, gather_.weight, gather_.filters,
                                     gather_.weight_filters_inner);
      source.read_from(weight + task / panels_a_group() * gather_.w_group);
      const Operand<Target, Packed> operand{&source, !gather_.weight_filters_inner};
      const int64_t filter = task % panels_a_group() * kFilters, depth = gather_.x.depth();
      const Range filters{filter, std::min<int64_t>(gather_.filters - filter, kFilters)};
      std::byte* to = panels + task * panel_stride();
      if (filters.size < kFilters) {
        // No product reads what is not there, but a packed weight is the same bytes every time.
        std::memset(to, 0, static_cast<size_t>(panel_stride()));
        std::memset(tile, 0, sizeof tile);
        std::memset(stage, 0, sizeof stage);
        std::memset(block, 0, sizeof block);
      }
      for (int64_t k = 0; k < depth; k += Shape::kDepth) {
        const Range part{k, std::min<int64_t>(depth - k, Shape::kDepth)};
        const int64_t bytes = ceil_div(part.size, kAmxStep) * kStepBytes;
        if (gather_.pixels_are_columns) {
          tiles_of_rows(operand, filters, part, scratch, to);
        } else {
          tiles_of_columns(operand, filters, part, scratch, to, bytes);
        }
        to += bytes;
      }
    });
  }

 private:
  static constexpr int64_t kFilters = Shape::kTileRows;
  static_assert(Shape::kTileRows == Shape::kTileColumns);
  static constexpr int64_t kStepBytes = kTerms * 2 * kAmxTileBytes;

  const Gather& gather_;
};

}  // namespace fastconv::cpu
