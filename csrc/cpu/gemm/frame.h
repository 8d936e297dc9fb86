// The loops of the GEMM around the micro-kernel, for one block of C in one thread.
#pragma once

#include "cpu/gemm/blocking.h"
#include "cpu/gemm/micro_kernel.h"
#include "cpu/gemm/packing.h"

namespace fastconv::cpu {

// C [+]= A[rows, depth] * B[depth, columns]. The reduction goes in even blocks of at most kDepth,
// cut by its length alone: every thread count adds in the same order.
//
// A tile of A, packed into L1 or read in place, is swept over all of the packed block of B, which
// streams from L2.
template <class Target, class Accumulator>
void gemm_block(const Operand<Target, Accumulator>& a, const Operand<Target, Accumulator>& b,
                Range rows, Range columns, Range depth, bool accumulate,
                const BlockOfC<Accumulator>& c, const PackScratch<Target, Accumulator>& scratch) {
  using Shape = GemmShape<Target::kIsa, Accumulator>;
  if (depth.size == 0 && !accumulate) {
    for (int64_t i = 0; i < rows.size; ++i) {
      for (int64_t j = 0; j < columns.size; ++j) c.data[i * c.stride + j] = 0;
    }
    return;
  }
  const auto blocks = EvenParts::at_most(depth.size, Shape::kDepth, 1);
  const auto tiles = EvenParts::at_most(rows.size, Shape::kTileRows, 1);
  for (int64_t block = 0; block < blocks.parts; ++block) {
    const int64_t k = depth.begin + blocks.begin(block), k_size = blocks.size(block);
    const auto sums = EvenParts::at_most(k_size, kLongestSum, 1);
    const Accumulator* panels = scratch.block;
    int64_t panel_stride = k_size * Shape::kTileColumns;
    if (b.panels != nullptr) {
      panel_stride = b.panel_stride;
      panels =
          b.panels + columns.begin / Shape::kTileColumns * panel_stride + k * Shape::kTileColumns;
    } else {
      pack_panels(b, columns.begin, columns.size, k, k_size, scratch);
    }
    for (int64_t tile = 0; tile < tiles.parts; ++tile) {
      const int64_t i = tiles.begin(tile), height = tiles.size(tile);
      TileOfA<Accumulator> tile_of_a{};
      int64_t first = k;
      if (a.inner_is_reduction) tile_of_a = a.source->in_place(rows.begin + i, height);
      if (tile_of_a.at == nullptr) {
        pack_tile(a, rows.begin + i, height, k, k_size, scratch);
        tile_of_a = TileOfA<Accumulator>::of_one_segment(scratch.tile, Shape::kTileRowStride);
        first = 0;
      }
      for (int64_t j = 0; j < columns.size; j += Shape::kTileColumns) {
        const int64_t left = ceil_div(columns.size - j, Shape::kLanes);
        const int64_t vectors = left < Shape::kTileVectors ? left : Shape::kTileVectors;
        const auto kernel = kMicroKernels<Target, Accumulator>.at[height - 1][vectors - 1];
        for (int64_t sum = 0; sum < sums.parts; ++sum) {
          const int64_t from = sums.begin(sum);
          kernel(tile_of_a, first + from, sums.size(sum),
                 panels + j / Shape::kTileColumns * panel_stride + from * Shape::kTileColumns,
                 c.data + i * c.stride + j, c.stride, accumulate || block > 0 || sum > 0);
        }
      }
    }
  }
}

}  // namespace fastconv::cpu
