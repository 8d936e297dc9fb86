// What Winograd's convolution computes and how it is cut into blocks, whatever the instruction set.
#pragma once

#include <cstdint>

#include "cpu/gemm/blocking.h"
#include "problem.h"

namespace fastconv::cpu {

// A 3 x 3 convolution of stride 1: fprop, or dgrad, which is one too with the weight turned round.
struct WinogradConv {
  int64_t images, channels, filters;
  int64_t height, width;          // of x
  int64_t out_height, out_width;  // of y
  int64_t pad_h, pad_w;           // zeros before x; negative where rows of x are left out
  Strides4 x, y;
  // Element (filter, channel, row, column) of the weight lies at
  // weight_offset + filter * weight.n + channel * weight.c + row * weight.h + column * weight.w.
  Strides4 weight;
  int64_t weight_offset;
};

WinogradConv winograd_fprop(const Conv2dProblem& problem);
WinogradConv winograd_dgrad(const Conv2dProblem& problem);

// Why a problem is not for Winograd, or nullptr.
const char* winograd_reject(const Conv2dProblem& problem);

// The tiles of outputs, numbered along rows, then down, then over images, and everything that
// follows from their number: blocks of tiles that pass the three stages together, and the arrays
// between the stages.
//
//   V [group][tile][kRow]: transformed input. A row holds the channels of several points where they
//     are few, and a point has several rows where they are many, so that a row is what the
//     micro-kernel takes as one row of A.
//   U [point][channel block][panel][channel][kPanel]: transformed weight, as packed panels of B.
//   M [point][tile][filter]: their products.
struct WinogradPlan {
  int64_t outputs, points;  // of one tile, in one dimension
  int64_t tile_rows, tile_columns, images;
  int64_t channels, filters;
  int64_t lanes, panel;       // of a vector, of a panel of B
  int64_t depth, row_stride;  // of a row of V: used, and from one to the next
  int64_t lane_channels;      // channels rounded up to whole vectors
  int64_t points_per_row, rows_per_point;
  int64_t panels;       // of the weight
  EvenParts blocks;     // of tiles
  int64_t block_tiles;  // of the longest
  int64_t m_stride;     // from one tile to the next in M

  // Where point e begins in V and in U, for the first tile and channel. Tables: the divisions
  // behind them took longer than the transforms.
  static constexpr int64_t kMostPoints = 36;
  int64_t v_point[kMostPoints], u_point[kMostPoints];

  int64_t tiles() const { return images * tile_rows * tile_columns; }
  int64_t tile_points() const { return points * points; }
  int64_t row_groups() const {
    return rows_per_point > 1 ? tile_points() * rows_per_point
                              : ceil_div(tile_points(), points_per_row);
  }
  int64_t v_elements() const { return row_groups() * block_tiles * row_stride; }
  int64_t u_elements() const { return tile_points() * channels * panels * panel; }
  int64_t m_elements() const { return tile_points() * block_tiles * m_stride; }

  // How far channel c lies from the first in V, and the block of channels that holds it in U.
  int64_t v_channel(int64_t c) const {
    return rows_per_point > 1 ? c / depth * block_tiles * row_stride + c % depth : c;
  }
  int64_t u_block(int64_t c) const { return c / depth * depth * panels * panel; }
};

// `lanes` and `panel` are the GEMM's (GemmShape), as are `depth` and `row_stride`.
WinogradPlan winograd_plan(const WinogradConv& conv, int64_t outputs, int64_t lanes, int64_t panel,
                           int64_t depth, int64_t row_stride);

// Tiles of one row of tiles: [column, column + size) of tile row `row` of an image, the first of
// them number `first` in its block.
struct TileRun {
  int64_t image, row, column, size, first;
};

// Cuts the tiles [begin, begin + size) into runs of at most `longest`, and calls use(run) for each.
template <class Use>
void for_each_tile_run(const WinogradPlan& plan, int64_t begin, int64_t size, int64_t longest,
                       const Use& use) {
  for (int64_t done = 0; done < size;) {
    const int64_t tile = begin + done, line = tile / plan.tile_columns;
    const int64_t column = tile % plan.tile_columns;
    int64_t run = plan.tile_columns - column;
    run = run < size - done ? run : size - done;
    run = run < longest ? run : longest;
    use(TileRun{line / plan.tile_rows, line % plan.tile_rows, column, run, done});
    done += run;
  }
}

}  // namespace fastconv::cpu
