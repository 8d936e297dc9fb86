// How a weight gradient is summed with no im2col matrix: which operand is read where it lies and
// which is copied, how the pixels are cut into sums and the weight into blocks.
//
//   weight[f, c, r, s] = sum over pixels p of grad_output[p, f] * input[p moved by tap (r, s), c]
//
// For each pixel the rows of a tile (the broadcast side) are multiplied by vectors (the other
// side). Where the channels fill vectors, filters are rows and the vectors hold the channels of one
// tap. Otherwise channels are rows, those of all taps of one row of the window together where they
// lie so, and the vectors hold filters.
#pragma once

#include <cstdint>

#include "cpu/conv2d/worker_pool.h"
#include "cpu/gemm/blocking.h"
#include "cpu/isa.h"
#include "problem.h"

namespace fastconv::cpu {

// A box of pixels.
struct PixelBox {
  Range images, rows, columns;
};

// From a panel of channels of so many pixels to the next, in a copy: an odd number of cache lines,
// lest the panels that a pixel is copied to fall into one set of L1 (three times the time).
inline int64_t slab_panel_stride(const PixelBox& box, int64_t width) {
  return BlockOfC<float>::stride_for(box.images.size * box.rows.size * box.columns.size * width);
}

// Tiles have as many vectors as those of the GEMM, or one more, with half a vector of rows: two
// such tiles fill a panel.
constexpr int wgrad_tile_vectors(Isa isa) { return blocking_for(isa).tile_vectors + 1; }
constexpr int wgrad_tile_rows(Isa isa, int vectors) {
  const Blocking& blocking = blocking_for(isa);
  if (vectors <= blocking.tile_vectors) return blocking.tile_rows;
  return blocking.vector_bytes / int{sizeof(float)} / 2;
}

struct DirectWgradPlan {
  // The problem, a 1x1 window's rows and images joined where they follow one another in memory.
  Conv2dProblem p;
  int64_t lanes, tile_rows, tile_vectors, tile_columns;

  // Channels are the rows of a tile; run: how many taps of a row of the window it takes together.
  bool channels_are_rows;
  int64_t run;

  // Chunks of at most kLongestSum pixels: one running sum each. In this order: columns innermost.
  Cuts images{EvenParts{}}, rows{EvenParts{}}, columns{EvenParts{}};
  // The chunks are cut into this many parts of their own sums, added in order at the end.
  int64_t parts;

  // Blocks of the weight of one group, all taps each: one task for each block, part and group.
  EvenParts filter_blocks, channel_blocks;

  // Rows of a tile of the filters of a block, the last of which may have fewer.
  int64_t tile_filters;
  // Whether the tiles of all filters take some channels before any takes the next.
  bool tiles_together;
  // In a copy, the rows of a tile, or of two, are a panel of whole vectors.
  bool half_panels() const { return 2 * tile_rows == lanes; }
  int64_t panel_filters() const { return half_panels() ? lanes : tile_filters; }
  int64_t row_panel() const { return round_up(tile_rows, lanes); }

  // Copies, of as many chunks as fit: neither, the vectors' side, the rows' side or both.
  bool copies_vectors, copies_rows;
  bool input_inner, grad_inner;  // whether channels are neighbours
  // Where the rows' side is read in place: whether it lies in planes.
  bool rows_in_planes;
  int64_t chunks_a_band;
  int64_t input_slab, grad_slab;  // elements

  int64_t filters() const { return p.group_out_channels(); }
  int64_t channels() const { return p.group_in_channels(); }
  int64_t taps() const { return p.R * p.S; }
  int64_t chunks() const { return images.parts * rows.parts * columns.parts; }
  int64_t blocks() const { return filter_blocks.parts * channel_blocks.parts; }
  int64_t tasks() const { return p.groups * parts * blocks(); }

  // The block of the weight as it is summed: rows of whole vectors.
  int64_t block_rows() const {
    return channels_are_rows ? taps() * channel_blocks.largest() : filter_blocks.largest();
  }
  int64_t tap_columns(int64_t channels) const { return round_up(channels, lanes); }
  int64_t block_stride() const {
    const int64_t width = channels_are_rows ? round_up(filter_blocks.largest(), lanes)
                                            : taps() * tap_columns(channel_blocks.largest());
    return BlockOfC<float>::stride_for(width);
  }
  int64_t block_elements() const { return block_rows() * block_stride(); }

  // Steps of the micro-kernel for a chunk of a block, about.
  int64_t steps_a_chunk(int64_t filters, int64_t channels) const {
    const int64_t tiles =
        channels_are_rows
            ? taps() / run * ceil_div(run * channels, tile_rows) * ceil_div(filters, tile_columns)
            : taps() * ceil_div(filters, tile_rows) * ceil_div(channels, tile_columns);
    return tiles * images.largest() * rows.largest() * columns.largest();
  }

  PixelBox chunk(int64_t index) const;
  // From a chunk on, before `end`, those that one copy serves.
  int64_t band_end(int64_t chunk, int64_t end) const;
  PixelBox band(int64_t begin, int64_t end) const;
  // What the taps read of the input for these pixels of the output: may reach into the padding.
  PixelBox reach(const PixelBox& pixels) const;
  // What a copy of the input holds: runs of taps read the padding too, as zeros.
  PixelBox copied_input(const PixelBox& pixels) const;
};

// A block of the weight of one group, and how its sums lie: filters by (row tap, column tap,
// channel), each tap's channels in whole vectors, or, where channels are rows, the other way round
// with channels dense.
struct WgradBlock {
  int64_t group, group_filters, group_channels;
  Range filters, channels;
  int64_t lanes;

  WgradBlock(const DirectWgradPlan& plan, int64_t block, int64_t group_number)
      : group(group_number),
        group_filters(plan.filters()),
        group_channels(plan.channels()),
        lanes(plan.lanes) {
    const int64_t filter_block = block % plan.filter_blocks.parts;
    const int64_t channel_block = block / plan.filter_blocks.parts;
    filters = {plan.filter_blocks.begin(filter_block), plan.filter_blocks.size(filter_block)};
    channels = {plan.channel_blocks.begin(channel_block), plan.channel_blocks.size(channel_block)};
  }

  int64_t first_filter() const { return group * group_filters + filters.begin; }
  int64_t first_channel() const { return group * group_channels + channels.begin; }
  int64_t tap_stride() const { return round_up(channels.size, lanes); }
  int64_t weight_offset(const Conv2dProblem& p) const {
    return first_filter() * p.weight.n + channels.begin * p.weight.c;
  }
};

// Why this problem is not for the kernels, or nullptr.
const char* direct_wgrad_reject(const Conv2dProblem& problem, Isa isa);

// Vectors of so many lanes that are multiplied for one group.
double direct_wgrad_vectors(const Conv2dProblem& problem, int64_t lanes);

DirectWgradPlan direct_wgrad_plan(const Conv2dProblem& problem, Isa isa, int threads);

// Of a range of rows or columns, those that an image has.
Range inside(const Range& range, int64_t extent);

// Output pixels whose tap at `offset` (dilation * index - padding) lies inside the input, within
// `range`.
Range pixels_inside(Range range, int64_t offset, int64_t stride, int64_t extent);

}  // namespace fastconv::cpu
