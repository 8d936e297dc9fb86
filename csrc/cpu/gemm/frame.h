// The loops of the GEMM around the micro-kernel, for one block of C in one thread.
#pragma once

#include "cpu/gemm/blocking.h"
#include "cpu/gemm/micro_kernel.h"
#include "cpu/gemm/packing.h"

namespace fastconv::cpu {

// One block of C and of the reduction: columns in panels, rows in tiles.
template <class Target, class Accumulator>
class GemmStep {
 public:
  using Shape = GemmShape<Target::kIsa, Accumulator>;

  GemmStep(const Operand<Target, Accumulator>& a, const Operand<Target, Accumulator>& b, Range rows,
           Range columns, Range depth, const StartOfC<Accumulator>& start,
           const BlockOfC<Accumulator>& c, const PackScratch<Target, Accumulator>& scratch)
      : a_(a),
        b_(b),
        rows_(rows),
        columns_(columns),
        depth_(depth),
        start_(start),
        c_(c),
        scratch_(scratch),
        tiles_(rows, a.inner_is_reduction ? a.source->line() : 0, Shape::kTileRows),
        sums_(EvenParts::at_most(depth.size, kLongestSum, 1)),
        stride_in_place_(b.inner_is_reduction || b.panels != nullptr ? 0
                                                                     : b.source->stride_in_place()),
        sweeps_panels_(stride_in_place_ != 0 && keeps_a()),
        reads_b_in_place_(
            sweeps_panels_ ||
            (stride_in_place_ != 0 && rows_share_l1<Accumulator>(kRowsOfB, stride_in_place_))) {
    if (a.inner_is_reduction && !reads_b_in_place_ && streaming_pays()) {
      all_of_a_ = in_place(rows);
    }
  }

  void run() const {
    if (sweeps_panels_) {
      sweep_panels();
    } else if (all_of_a_.at != nullptr) {
      stream_tiles();
    } else {
      sweep_tiles();
    }
  }

 private:
  // That meet one line of a row of A.
  static constexpr int64_t kRowsOfB = 64 / sizeof(Accumulator);

  // A narrow block of C, whose rows do not share a set of L1: 1.07 to 1.12 times as fast where A
  // comes from L3. For wide ones it is C that comes from far, and 256 columns gained nothing.
  bool streaming_pays() const {
    constexpr int64_t kNarrow = 128, kFewestTiles = 8;
    return columns_.size <= kNarrow && tiles_.parts >= kFewestTiles &&
           rows_share_l1<Accumulator>(Shape::kTileRows, c_.stride);
  }

  // A tile of A, packed into L1 or read in place, is swept over all of the block of B, which
  // streams from L2.
  void sweep_tiles() const {
    pack_b();
    for (int64_t i = 0; i < tiles_.parts; ++i) {
      const Range tile = tiles_[i];
      TileOfA<Accumulator> tile_of_a = a_in_place(tile);
      int64_t first = depth_.begin;
      if (tile_of_a.at == nullptr) {
        pack_a(tile, 0);
        tile_of_a = packed_a(0);
        first = 0;
      }
      RowsAhead next = rows_ahead(i + 1);
      for (int64_t j = 0; j < columns_.size; j += Shape::kTileColumns) {
        multiply(tile_of_a, first, tile, j, panel(j), next);
      }
    }
  }

  // A panel of B, as deep as one running sum, stays in L1 for all tiles of A. Those are read in
  // place, and each is fetched during the products of the one before it.
  void stream_tiles() const {
    pack_b();
    for (int64_t sum = 0; sum < sums_.parts; ++sum) {
      const Accumulator* const rows = all_of_a_.element(depth_.begin + sums_.begin(sum));
      for (int64_t j = 0; j < columns_.size; j += Shape::kTileColumns) {
        const PanelOfB<Accumulator> b = part_of(panel(j), sum);
        for (int64_t i = 0; i < tiles_.parts; ++i) {
          const Range tile = tiles_[i], next = tiles_[i + 1 < tiles_.parts ? i + 1 : 0];
          const auto ahead =
              i == 0 ? Ahead<Accumulator>::in_panel(b)
                     : Ahead<Accumulator>::in_rows(rows + next.begin * all_of_a_.row_stride,
                                                   all_of_a_.row_stride);
          TileOfA<Accumulator> a = all_of_a_;
          a.at += tile.begin * a.row_stride;
          multiply_sum(a, depth_.begin, tile, j, sum, b, ahead, nullptr);
        }
      }
    }
  }

  // A panel of B, read in place, stays in L1 for all tiles of A, copied there by the first, and the
  // next one comes from memory in the meantime.
  void sweep_panels() const {
    pack_b();
    for (int64_t i = 0; i < tiles_.parts; ++i) {
      if (a_in_place(tiles_[i]).at == nullptr) pack_a(tiles_[i], i);
    }
    RowsAhead none;
    for (int64_t j = 0; j < columns_.size; j += Shape::kTileColumns) {
      const int64_t next = j + Shape::kTileColumns;
      const PanelOfB<Accumulator> after =
          next < columns_.size ? panel(next) : PanelOfB<Accumulator>{};
      PanelOfB<Accumulator> b = panel(j);
      const bool copies = tiles_.parts > 1 && b.stride != Shape::kTileColumns &&
                          width(j) > (Shape::kTileVectors - 1) * Shape::kLanes;
      for (int64_t i = 0; i < tiles_.parts; ++i) {
        const Range tile = tiles_[i];
        const bool copies_now = copies && i == 0;
        const TileOfA<Accumulator> in_place = a_in_place(tile);
        const bool packed = in_place.at == nullptr;
        // Of the next panel the first line for the second tile, the other for the third: memory
        // delivers no faster.
        const int64_t line = after.at != nullptr && (i == 1 || i == 2) ? i - 1 : -1;
        multiply(packed ? packed_a(i) : in_place, packed ? 0 : depth_.begin, tile, j, b, none,
                 line < 0 ? nullptr : &after, line, copies_now ? scratch_.stage : nullptr);
        if (copies_now) b = {scratch_.stage, Shape::kTileColumns};
      }
    }
  }

  using Scratch = PackScratch<Target, Accumulator>;

  // Whether all of A stays in L2 while panels pass: few tiles, packed once, or all in place.
  bool keeps_a() const {
    if (tiles_.parts <= Scratch::kTiles) return tiles_.parts > 0;
    if (rows_.size * depth_.size > Shape::kBlockOfC) return false;
    for (int64_t i = 0; i < tiles_.parts; ++i) {
      if (a_in_place(tiles_[i]).at == nullptr) return false;
    }
    return true;
  }
  void pack_a(Range tile, int64_t slot) const {
    Scratch to = scratch_;
    to.tile += slot * Scratch::kTileElements;
    pack_tile(a_, rows_.begin + tile.begin, tile.size, depth_.begin, depth_.size, to);
  }
  TileOfA<Accumulator> packed_a(int64_t slot) const {
    return TileOfA<Accumulator>::of_one_segment(scratch_.tile + slot * Scratch::kTileElements,
                                                Shape::kTileRowStride);
  }
  TileOfA<Accumulator> a_in_place(Range tile) const {
    if (!a_.inner_is_reduction) return {};
    return in_place({rows_.begin + tile.begin, tile.size});
  }
  TileOfA<Accumulator> in_place(Range rows) const {
    // Packing pays with the third panel: with one it took 1.25 times as long, with two 1.08.
    const bool few_panels = columns_.size <= 2 * Shape::kTileColumns;
    return few_panels ? a_.source->rows_in_memory(rows.begin, rows.size)
                      : a_.source->in_place(rows.begin, rows.size);
  }

  // Those of a tile that the products of the one before it leave time to fetch.
  RowsAhead rows_ahead(int64_t i) const {
    if (!a_.inner_is_reduction || i >= tiles_.parts) return {};
    const Range tile = tiles_[i];
    return a_.source->ahead(rows_.begin + tile.begin, tile.size, depth_,
                            ceil_div(columns_.size, Shape::kTileColumns) * sums_.parts);
  }

  int64_t width(int64_t j) const {
    return columns_.size - j < Shape::kTileColumns ? columns_.size - j : Shape::kTileColumns;
  }
  PanelOfB<Accumulator> b_in_place(int64_t j) const {
    if (!reads_b_in_place_) return {};
    return b_.source->panel_in_place(columns_.begin + j, width(j), depth_);
  }

  // The panels that are not read in place.
  void pack_b() const {
    if (b_.panels != nullptr) return;
    if (!reads_b_in_place_) {
      pack_panels(b_, columns_.begin, columns_.size, depth_.begin, depth_.size, scratch_);
      return;
    }
    for (int64_t j = 0; j < columns_.size; j += Shape::kTileColumns) {
      if (b_in_place(j).at != nullptr) continue;
      Scratch to = scratch_;
      to.block += packed_panel(j);
      pack_panels(b_, columns_.begin + j, width(j), depth_.begin, depth_.size, to);
    }
  }
  int64_t packed_panel(int64_t j) const { return j * depth_.size; }

  PanelOfB<Accumulator> panel(int64_t j) const {
    if (b_.panels != nullptr) {
      return {b_.panels + (columns_.begin + j) / Shape::kTileColumns * b_.panel_stride +
                  depth_.begin * Shape::kTileColumns,
              Shape::kTileColumns};
    }
    const PanelOfB<Accumulator> in_place = b_in_place(j);
    if (in_place.at != nullptr) return in_place;
    return {scratch_.block + packed_panel(j), Shape::kTileColumns};
  }

  // rows, after: the rows of A and the panel to fetch meanwhile, of its lines this one. copy: where
  // to leave this panel, packed. Null for neither.
  void multiply(const TileOfA<Accumulator>& a, int64_t first, Range tile, int64_t j,
                const PanelOfB<Accumulator>& b, RowsAhead& rows,
                const PanelOfB<Accumulator>* after = nullptr, int64_t line = 0,
                Accumulator* copy = nullptr) const {
    for (int64_t sum = 0; sum < sums_.parts; ++sum) {
      const PanelOfB<Accumulator> part = part_of(b, sum);
      auto ahead = Ahead<Accumulator>::in_panel(part);
      if (after != nullptr) {
        ahead = Ahead<Accumulator>::of_line(part_of(*after, sum).at, line, after->stride);
      }
      multiply_sum(a, first, tile, j, sum, part, ahead,
                   copy == nullptr ? nullptr : copy + sums_.begin(sum) * Shape::kTileColumns);
      rows.step();
    }
  }

  // One running sum of a tile, added to those before it.
  void multiply_sum(const TileOfA<Accumulator>& a, int64_t first, Range tile, int64_t j,
                    int64_t sum, const PanelOfB<Accumulator>& part, const Ahead<Accumulator>& ahead,
                    Accumulator* copy) const {
    const auto& kernels = kMicroKernels<Target, Accumulator>;
    const int64_t vectors = ceil_div(width(j), Shape::kLanes);
    const auto kernel =
        copy == nullptr ? kernels.at[tile.size - 1][vectors - 1] : kernels.copying[tile.size - 1];
    Accumulator* const c = c_.data + tile.begin * c_.stride + j;
    kernel({a,
            first + sums_.begin(sum),
            sums_.size(sum),
            part,
            ahead,
            {c, c_.stride, sum == 0 ? start_.from(tile.begin, j) : c,
             sum == 0 ? start_.row_stride : c_.stride},
            copy});
  }

  PanelOfB<Accumulator> part_of(const PanelOfB<Accumulator>& b, int64_t sum) const {
    return {b.at + sums_.begin(sum) * b.stride, b.stride};
  }

  const Operand<Target, Accumulator>& a_;
  const Operand<Target, Accumulator>& b_;
  Range rows_, columns_, depth_;
  StartOfC<Accumulator> start_;
  const BlockOfC<Accumulator>& c_;
  const PackScratch<Target, Accumulator>& scratch_;
  RowTiles tiles_;
  Cuts sums_;
  int64_t stride_in_place_;
  bool sweeps_panels_, reads_b_in_place_;
  TileOfA<Accumulator> all_of_a_{};  // where all of it can be read in place
};

// C = start + A[rows, depth] * B[depth, columns]. The reduction goes in even blocks of at most
// kDepth, cut by its length alone: every thread count adds in the same order.
template <class Target, class Accumulator>
  requires(Target::kIsa != Isa::amx)
void gemm_block(const Operand<Target, Accumulator>& a, const Operand<Target, Accumulator>& b,
                Range rows, Range columns, Range depth, const StartOfC<Accumulator>& start,
                const BlockOfC<Accumulator>& c, const PackScratch<Target, Accumulator>& scratch) {
  using Shape = GemmShape<Target::kIsa, Accumulator>;
  if (depth.size == 0) fill_from_start(c, rows, columns, start);
  const auto blocks = EvenParts::at_most(depth.size, Shape::kDepth, 1);
  for (int64_t block = 0; block < blocks.parts; ++block) {
    GemmStep<Target, Accumulator>(
        a, b, rows, columns, {depth.begin + blocks.begin(block), blocks.size(block)},
        block == 0 ? start : StartOfC<Accumulator>{c.data, c.stride, 1}, c, scratch)
        .run();
  }
}

}  // namespace fastconv::cpu
