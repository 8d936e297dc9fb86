// What Winograd's convolution computes and how it is cut into blocks, whatever the instruction set.
#pragma once

#include <cstdint>

#include "cpu/gemm/blocking.h"
#include "problem.h"

namespace fastconv::cpu {

// A convolution of stride 1 and any dilation with as many taps down as across: fprop, or dgrad,
// which is one too with the weight turned round. Sizes are those of one group.
struct WinogradConv {
  int64_t taps;  // of one dimension
  int64_t images, channels, filters;
  int64_t height, width;          // of x
  int64_t out_height, out_width;  // of y
  int64_t pad_h, pad_w;           // zeros before x; negative where rows of x are left out
  Extent2 dilation;
  Strides4 x, y;
  // Element (filter, channel, row, column) of the weight lies at
  // weight_offset + filter * weight.n + channel * weight.c + row * weight.h + column * weight.w.
  Strides4 weight;
  int64_t weight_offset;
  int64_t groups;
  int64_t x_group, y_group, weight_group;  // from one group to the next
};

WinogradConv winograd_fprop(const Conv2dProblem& problem);
WinogradConv winograd_dgrad(const Conv2dProblem& problem);

// Why a problem is not for Winograd with windows of so many taps a side, or nullptr.
const char* winograd_reject(const Conv2dProblem& problem, int64_t taps);

// Of a tile of so many outputs, in one dimension.
inline int64_t winograd_points(const WinogradConv& conv, int64_t outputs) {
  return outputs + conv.taps - 1;
}

// The tiles along one dimension of y. Dilated by d, pixels of different residues modulo d have
// nothing to do with each other: a tile takes every d-th pixel, and d such tiles of neighbouring
// residues interleave to a span of d * outputs pixels. The last span has as many tiles as it has
// residues.
struct TileAxis {
  int64_t outputs, dilation, extent;

  int64_t span() const { return outputs * dilation; }
  int64_t tiles() const {
    const int64_t rest = extent % span();
    return extent / span() * dilation + (rest < dilation ? rest : dilation);
  }
  // The first pixel of a tile: they ascend.
  int64_t begin(int64_t tile) const { return tile / dilation * span() + tile % dilation; }
};

// The tiles of outputs, numbered along rows, then down, then over images, and everything that
// follows from their number: blocks of tiles that pass the three stages together, and the arrays
// between the stages.
//
//   V: transformed input, U: transformed weight, as the products want them (winograd_floats.h,
//     amx/winograd_terms.h).
//   M [point][tile][filter]: their products.
struct WinogradPlan {
  int64_t outputs, points;  // of one tile, in one dimension
  TileAxis rows, columns;
  int64_t tile_rows, tile_columns, images;
  int64_t channels, filters;
  int64_t lanes, panel;       // of a vector, of a panel of B
  int64_t depth, row_stride;  // of a row of V: used, and from one to the next
  int64_t lane_channels;      // channels rounded up to whole vectors
  int64_t points_per_row, rows_per_point;
  int64_t panels;       // of the weight
  EvenParts blocks;     // of tiles
  int64_t block_tiles;  // of the longest
  int64_t workers;      // with blocks of their own; one where all threads share each block
  int64_t m_stride;     // from one tile to the next in M

  // Where point e begins in V and in U, for the first tile and channel. Tables: the divisions
  // behind them took longer than the transforms.
  static constexpr int64_t kMostPoints = 36;
  int64_t v_point[kMostPoints], u_point[kMostPoints];

  int64_t tiles() const { return images * tile_rows * tile_columns; }
  int64_t overlap() const { return points - outputs; }  // of neighbouring tiles
  int64_t tile_points() const { return points * points; }
  int64_t row_groups() const {
    return rows_per_point > 1 ? tile_points() * rows_per_point
                              : ceil_div(tile_points(), points_per_row);
  }
  int64_t v_elements() const { return row_groups() * block_tiles * row_stride; }
  // A point of U, and a cache line of zeros: the points of a filter and channel, which are written
  // together, do not fall into one set of L1 then.
  static constexpr int64_t kLineBetween = 64 / sizeof(float);
  int64_t u_point_elements() const { return channels * panels * panel; }
  int64_t u_elements() const { return tile_points() * (u_point_elements() + kLineBetween); }
  int64_t m_elements() const { return tile_points() * block_tiles * m_stride; }

  // How far channel c lies from the first in V, and the block of channels that holds it in U.
  int64_t v_channel(int64_t c) const {
    return rows_per_point > 1 ? c / depth * block_tiles * row_stride + c % depth : c;
  }
  int64_t u_block(int64_t c) const { return c / depth * depth * panels * panel; }
};

// `lanes` and `panel` are the GEMM's (GemmShape), as are `depth` and `row_stride`.
WinogradPlan winograd_plan(const WinogradConv& conv, int64_t outputs, int64_t lanes, int64_t panel,
                           int64_t depth, int64_t row_stride, int threads);

// The same where V and U are tiles of `unit` Winograd tiles or filters and of `row_bytes` for the
// channels of one of them. Such V and U keep their own places: what the plan says of those is for
// floats.
WinogradPlan winograd_tile_plan(const WinogradConv& conv, int64_t outputs, int64_t lanes,
                                int64_t unit, int64_t row_bytes, int threads);

// The tiles of one running sum of the gradient of the weight, for any number of threads and however
// the weight is cut.
int64_t winograd_wgrad_chunk(const WinogradConv& conv, int64_t outputs);

// The same plan for a block of the gradient of the weight, whose blocks of tiles are chunks. The
// places of M are those of the transformed grad_output.
WinogradPlan winograd_wgrad_plan(const WinogradConv& block, int64_t chunk, int64_t outputs,
                                 int64_t lanes, int64_t panel, int64_t depth, int64_t row_stride);

// The weight as its gradient is cut into tasks, in whole vectors.
struct WinogradWgradBlocks {
  EvenParts filters, channels;

  int64_t count() const { return filters.parts * channels.parts; }
};
WinogradWgradBlocks winograd_wgrad_blocks(const WinogradConv& conv, int64_t lanes, int threads);

// Neighbouring tiles of one row of tiles, the first of them number `first` in its block: those of
// `residues` neighbouring residues in each of `spans` spans. In several spans only where that is
// all residues: what lies under the run is then one piece of a row.
struct TileRun {
  int64_t image, row, column;  // the first pixel of the first tile
  int64_t spans, residues, first;

  int64_t size() const { return spans * residues; }
};

// Cuts the tiles [begin, begin + size) into runs under which lie at most `columns` pixels of a row,
// and calls use(run) for each.
template <class Use>
void for_each_tile_run(const WinogradPlan& plan, int64_t begin, int64_t size, int64_t columns,
                       const Use& use) {
  const int64_t dilation = plan.columns.dilation;
  for (int64_t done = 0; done < size;) {
    const int64_t tile = begin + done, line = tile / plan.tile_columns;
    const int64_t column = tile % plan.tile_columns, residue = column % dilation;
    const auto least = [](int64_t a, int64_t b) { return a < b ? a : b; };
    const int64_t left = least(plan.tile_columns - column, size - done);
    TileRun run{line / plan.tile_rows,
                plan.rows.begin(line % plan.tile_rows),
                plan.columns.begin(column),
                1,
                0,
                done};
    run.residues = least(least(left, dilation - residue), columns / plan.points);
    if (run.residues == dilation) {
      run.spans = least(left / dilation, (columns / dilation - plan.overlap()) / plan.outputs);
    }
    use(run);
    done += run.size();
  }
}

}  // namespace fastconv::cpu
