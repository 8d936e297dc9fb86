// Which input feeds which output of a depthwise convolution, one axis at a time, and how a kernel
// lays a piece of the input out in scratch so that every tap is a plain vector load.
//
// Both gather directions have the same shape. fprop reads input at output * stride + offset(tap).
// dgrad reads grad_output for the elements of grad_input; there each tap reaches only one residue
// class of positions modulo the stride, and inside a class the positions advance one by one in both
// tensors. Working class by class, no product with an inserted zero is ever made.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "cpu/gemm/blocking.h"
#include "problem.h"

namespace fastconv::cpu {

constexpr int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && a < 0 ? 1 : 0); }

// Outputs first_out + i * out_step, i < outs, of one axis. The a-th of the taps that reach them, in
// rising order of the input they read, is tap first_tap + a * tap_step of the weight and reads
// input first_in + a * in_spacing + i * in_step.
struct TapClass {
  int64_t first_out, outs;
  int64_t first_tap, tap_step, taps;
  int64_t first_in, in_spacing;
};

struct Axis {
  int64_t in, out;
  int64_t in_step, out_step;
  int64_t taps;
  int64_t stride, dilation, pad;
  bool transposed;
  int64_t period;  // taps that lie this far apart share a class

  int64_t classes() const { return std::min(period, taps); }

  int64_t first_out(int64_t tap) const {
    if (!transposed) return 0;
    const int64_t at = tap * dilation - pad;
    return at - floor_div(at, stride) * stride;
  }

  int64_t first_in(int64_t tap) const {
    const int64_t at = tap * dilation - pad;
    return transposed ? -floor_div(at, stride) : at;
  }

  TapClass tap_class(int64_t index) const {
    const int64_t count = (taps - 1 - index) / period + 1;
    const int64_t last = index + (count - 1) * period;
    const int64_t start = first_out(index);
    const int64_t outs = start < out ? (out - 1 - start) / out_step + 1 : 0;
    if (!transposed) return {start, outs, index, 1, count, first_in(index), dilation};
    return {start, outs, last, -period, count, first_in(last), dilation / (stride / period)};
  }

  // Outputs of the largest class.
  int64_t most_outs() const { return out == 0 ? 0 : (out - 1) / out_step + 1; }
  int64_t most_taps() const { return (taps - 1) / period + 1; }

  bool every_output_has_a_tap() const {
    int64_t reached = 0;
    for (int64_t index = 0; index < classes(); ++index) reached += tap_class(index).outs;
    return reached == out;
  }
};

static inline Axis fprop_axis(int64_t in, int64_t out, int64_t taps, int64_t stride,
                              int64_t dilation, int64_t pad) {
  return {in, out, stride, 1, taps, stride, dilation, pad, false, 1};
}

static inline Axis dgrad_axis(int64_t in, int64_t out, int64_t taps, int64_t stride,
                              int64_t dilation, int64_t pad) {
  return {out,    in,       1,   stride, taps,
          stride, dilation, pad, true,   stride / std::gcd(stride, dilation)};
}

struct Axes {
  Axis row, col;
};

static inline Axes fprop_axes(const Conv2dProblem& p) {
  return {fprop_axis(p.H, p.P, p.R, p.stride.h, p.dilation.h, p.pad.h),
          fprop_axis(p.W, p.Q, p.S, p.stride.w, p.dilation.w, p.pad.w)};
}

static inline Axes dgrad_axes(const Conv2dProblem& p) {
  return {dgrad_axis(p.H, p.P, p.R, p.stride.h, p.dilation.h, p.pad.h),
          dgrad_axis(p.W, p.Q, p.S, p.stride.w, p.dilation.w, p.pad.w)};
}

// One input row in scratch: a few arrays, each holding every in_step-th column from its own start,
// so that the columns that a tap reads for consecutive outputs lie side by side. Taps share an
// array where their columns overlap; far dilated ones have one each.
struct ColumnLayout {
  int64_t arrays, length, pitch;  // length: what of an array is read; pitch: with room for vectors
  bool shared;
  int64_t shift;  // of one tap against the previous one in its array

  // Where in the scratch row the column of `tap` for output 0 lies.
  int64_t column(const Axis& axis, int64_t tap) const {
    if (!shared) return tap * pitch;
    if (axis.transposed) return axis.first_in(tap) - axis.first_in(axis.taps - 1);
    return tap % arrays * pitch + tap / arrays * shift;
  }

  // The input column that begins an array.
  int64_t start(const Axis& axis, int64_t array) const {
    return axis.first_in(shared && axis.transposed ? axis.taps - 1 : array);
  }
};

// For blocks of at most `outs` outputs read as vectors of `lanes`.
static inline ColumnLayout column_layout(const Axis& axis, int64_t outs, int64_t lanes) {
  ColumnLayout layout{};
  int64_t reach;  // of the last tap in an array beyond the first
  if (axis.transposed) {
    reach = axis.first_in(0) - axis.first_in(axis.taps - 1);
    layout.arrays = 1;
    layout.shared = reach <= (axis.taps - 1) * (outs + lanes);
  } else {
    const int64_t common = std::gcd(axis.stride, axis.dilation);
    layout.shift = axis.dilation / common;
    layout.arrays = std::min(axis.stride / common, axis.taps);
    layout.shared = layout.shift <= outs + lanes;
    reach = layout.shared ? (axis.taps - 1) / layout.arrays * layout.shift : 0;
  }
  if (!layout.shared) {
    layout.arrays = axis.taps;
    reach = 0;
  }
  layout.length = outs + reach;
  layout.pitch = round_up(round_up(outs, lanes) + reach, lanes);
  return layout;
}

// The rows that a block of `outs` output rows reads: the i-th one's a-th tap reads slot
// i * step + a * spacing. Slots hold a contiguous run of input rows where taps share most of them,
// else a run of their own for each tap.
struct RowLayout {
  int64_t slots, step, spacing;
  bool shared;

  // Output rows this far apart read the same slots, shifted by one tap; 0 where there are none.
  int64_t apart() const {
    if (spacing == step) return 1;
    if (step == 1) return spacing;
    return spacing % step == 0 ? spacing / step : 0;
  }

  // The input row in a slot, of a block that begins at output `first` of its class.
  int64_t input_row(const TapClass& taps, const Axis& axis, int64_t first, int64_t slot) const {
    if (shared) return taps.first_in + first * axis.in_step + slot;
    return taps.first_in + (first + slot % spacing) * axis.in_step +
           slot / spacing * taps.in_spacing;
  }
};

static inline RowLayout row_layout(const Axis& axis, int64_t taps, int64_t in_spacing,
                                   int64_t outs) {
  const int64_t apart = taps * outs;
  const bool small = axis.in_step <= apart && in_spacing <= apart;
  const int64_t run = small ? (outs - 1) * axis.in_step + (taps - 1) * in_spacing + 1 : apart + 1;
  if (run <= apart) return {run, axis.in_step, taps == 1 ? axis.in_step : in_spacing, true};
  return {apart, 1, outs, false};
}

// A class of columns, and where in a scratch row the columns of its taps begin.
struct ColumnTaps {
  TapClass taps;
  const int64_t* columns;
};

// The classes of both axes that have outputs, worked out once for a problem: divisions are slow.
struct ClassTables {
  TapClass* rows;
  ColumnTaps* cols;
  int64_t row_count, col_count;
};

int64_t class_tables_bytes(const Axes& axes);
ClassTables make_class_tables(const Axes& axes, const ColumnLayout& columns, std::byte* workspace);

// The scratch of a block is written once and read R * S times: it should stay in a 32 KB L1 beside
// the outputs.
constexpr int64_t kScratchBytes = 20 * 1024;

// How the outputs of one plane are cut into blocks, and the scratch row that goes with them.
struct BlockPlan {
  int64_t rows, cols;              // outputs of a class in one block
  int64_t row_blocks, col_blocks;  // of the largest class
  ColumnLayout columns;
  int64_t row_elements;  // of scratch
  int64_t slots;         // most rows of scratch that a block needs
};

BlockPlan block_plan(const Axes& axes, int64_t lanes, int64_t element_bytes);

}  // namespace fastconv::cpu
