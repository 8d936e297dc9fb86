// One block of C on AMX: packed as for the vector units, then brought into tiles, then multiplied.
// An overload of gemm/frame.h's gemm_block for operands of the AMX target, so that the convolutions
// in front of it (conv2d/gather_gemm.h, weight_gradient_gemm.h) are the same for both. To be
// included under the AVX-512 pragma.
#pragma once

#include "cpu/amx/beside_products.h"
#include "cpu/amx/pack_tiles.h"
#include "cpu/amx/tile_product.h"
#include "cpu/gemm/frame.h"

namespace fastconv::cpu {
namespace {

// Few channels fill no step. Products of a shorter one, which is then the only one, can read them
// where they lie, with nothing beside them that would have to be zero.
inline int64_t step_of(int64_t depth) {
  return depth < kAmxStep && depth % 2 == 0 ? depth : kAmxStep;
}

// Rows of A, read where they lie if every step is in one run of whole rows, or packed.
template <class Target, class Element>
StepsOfA steps_of_rows(const Operand<Target, Element>& a, Range rows, Range k, int64_t step_depth,
                       const PackScratch<Target, Element>& scratch) {
  const int64_t steps = ceil_div(k.size, kAmxStep);
  if constexpr (std::is_same_v<Element, bfloat16>) {
    using Shape = GemmShape<Isa::amx, Element>;
    if (a.inner_is_reduction) {
      const TileOfA<Element> in_place =
          whole_steps_of(a.source->in_place(rows.begin, rows.size), rows, k, step_depth);
      if (in_place.at == nullptr) {
        pack_rows(a, rows, k, scratch);
        return StepsOfA::of_rows(scratch.tile, Shape::kTileRowStride, steps);
      }
      StepsOfA result = StepsOfA::of_rows(in_place.at, in_place.row_stride, 0);
      for (int64_t step = 0; step < steps; ++step) {
        result.steps[step] =
            reinterpret_cast<const std::byte*>(in_place.element(k.begin + step * kAmxStep));
      }
      return result;
    }
  }
  tiles_of_rows(a, rows, k, scratch, scratch.tiles_of_a());
  return StepsOfA::of_tiles(scratch.tiles_of_a(), steps, Target::kTerms * 2 * kAmxTileBytes);
}

}  // namespace

// The block goes to `out`, or to c where out.at is null or there is nothing to sum; c holds what is
// summed until then. Returns the largest sum, as SumsSeen has it.
template <class Tiles, int kTerms, int kProducts, class Element, class T>
uint32_t gemm_block(const Operand<AmxTarget<Tiles, kTerms, kProducts>, Element>& a,
                    const Operand<AmxTarget<Tiles, kTerms, kProducts>, Element>& b, Range rows,
                    Range columns, Range depth, const StartOfC<float>& start,
                    const BlockOfC<float>& c, const OutputRows<T>& out,
                    const PackScratch<AmxTarget<Tiles, kTerms, kProducts>, Element>& scratch) {
  using Target = AmxTarget<Tiles, kTerms, kProducts>;
  using Shape = GemmShape<Isa::amx, Element>;
  static_assert(Shape::kDepth <= StepsOfA::kMost * kAmxStep);
  constexpr int64_t kStepBytes = kTerms * 2 * kAmxTileBytes;
  if (depth.size == 0) {
    fill_from_start(c, rows, columns, start);
    return 0;
  }
  SumsSeen seen;
  const int64_t step_depth = step_of(depth.size);
  const TileScope<Tiles> scope(step_depth);
  const auto blocks = EvenParts::at_most(depth.size, Shape::kDepth, kAmxStep);
  const Cuts tiles(EvenParts::at_most(rows.size, Shape::kTileRows, kAmxTileRows));
  for (int64_t block = 0; block < blocks.parts; ++block) {
    const Range k{depth.begin + blocks.begin(block), blocks.size(block)};
    const StartOfC<float> begin = block == 0 ? start : StartOfC<float>{c.data, c.stride, 1};
    const bool last = block + 1 == blocks.parts;
    const int64_t steps = ceil_div(k.size, kAmxStep);
    const auto in_panels = [&](const Operand<Target, Element>& side, int64_t at) {
      return side.panels + at / Shape::kTileRows * side.panel_stride +
             k.begin / kAmxStep * kStepBytes;
    };
    const std::byte* tiles_of_b = scratch.tiles_of_b();
    int64_t panel_bytes = steps * kStepBytes;
    if (b.panels == nullptr) {
      tiles_of_columns(b, columns, k, scratch, scratch.tiles_of_b(), panel_bytes);
    } else {
      tiles_of_b = in_panels(b, columns.begin);
      panel_bytes = b.panel_stride;
    }
    const int64_t panels = ceil_div(columns.size, Shape::kTileColumns);
    const auto multiply = [&](auto* to, int64_t to_stride) {
      FetchAndMove<typename Tiles::Terms, std::remove_pointer_t<decltype(to)>> beside;
      for (int64_t tile = 0; tile < tiles.parts; ++tile) {
        const int64_t i = tiles.begin(tile), height = tiles.size(tile);
        const Range tile_rows{rows.begin + i, height};
        const StepsOfA steps_of_a =
            a.panels == nullptr
                ? steps_of_rows(a, tile_rows, k, step_depth, scratch)
                : StepsOfA::of_tiles(in_panels(a, tile_rows.begin), steps, kStepBytes);
        for (int64_t panel = 0; panel < panels; ++panel) {
          const int64_t j = panel * Shape::kTileColumns, left = columns.size - j;
          const int64_t width = left < Shape::kTileColumns ? left : Shape::kTileColumns;
          const std::byte* const tiles_here = tiles_of_b + panel * panel_bytes;
          if constexpr (kTerms > 1) {
            beside.fetch = {tiles_here, panel + 1 < panels ? tiles_here + panel_bytes : tiles_of_b};
          }
          float* const sum = scratch.sum((tile * panels + panel) % 2);
          multiply_tiles<Target>(height, width, k.size, PartsOfSteps::all(), steps_of_a, tiles_here,
                                 beside, sum, Shape::kTileColumns);
          beside.sum = {sum,
                        Shape::kTileColumns,
                        height,
                        width,
                        begin.from(i, j),
                        begin.row_stride,
                        to + i * to_stride + j,
                        to_stride,
                        &seen};
        }
      }
      beside.sum.finish();
    };
    if (last && out.at != nullptr) {
      multiply(out.at, out.stride);
    } else {
      multiply(c.data, c.stride);
    }
  }
  return seen.largest();
}

template <class Tiles, int kTerms, int kProducts, class Element>
uint32_t gemm_block(const Operand<AmxTarget<Tiles, kTerms, kProducts>, Element>& a,
                    const Operand<AmxTarget<Tiles, kTerms, kProducts>, Element>& b, Range rows,
                    Range columns, Range depth, const StartOfC<float>& start,
                    const BlockOfC<float>& c,
                    const PackScratch<AmxTarget<Tiles, kTerms, kProducts>, Element>& scratch) {
  return gemm_block(a, b, rows, columns, depth, start, c, OutputRows<float>{}, scratch);
}

}  // namespace fastconv::cpu
