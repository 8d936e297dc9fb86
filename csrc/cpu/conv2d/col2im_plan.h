// dgrad by col2im: which problems it can do, and how it cuts them.
//
//   sums[pixel, (c, tap)] = sum over filters k of grad_output[pixel, k] * weight[k, (c, tap)]
//   grad_input[c, pixel * stride + tap * dilation - pad] += sums[pixel, (c, tap)]
//
// The product reads the weight as it lies, a row of memory for each filter, and forms no product
// with padding or between the steps of a stride. What it costs is that every sum is stored, and
// added once more.
#pragma once

#include <cstdint>

#include "cpu/gemm/blocking.h"
#include "problem.h"

namespace fastconv::cpu {

// The order of a filter's elements in memory.
enum class FilterOrder : uint8_t {
  taps_inner,      // channel, row tap, column tap: contiguous
  channels_inner,  // row tap, column tap, channel: channels_last
  neither,
};
FilterOrder filter_order(const Conv2dProblem& problem);

// What tiles of an instruction set and type have.
struct Col2imTile {
  int64_t rows, columns, lanes;
};

struct Col2imPlan {
  Col2imPlan(const Conv2dProblem& problem, const Col2imTile& tile, int threads);

  FilterOrder order;
  int64_t taps;
  EvenParts channels;  // of a group, in blocks
  EvenParts images;    // in chunks
  int64_t groups;
  int64_t pixels_a_block;  // of output
  bool packs_filters;      // for all of those blocks at once
  // Rows of grad_input that the windows of a row of output reach: so many are summed up at a time.
  int64_t rows;

  int64_t most_columns() const { return channels.largest() * taps; }
  int64_t tasks() const { return images.parts * groups * channels.parts; }
};

// Why a problem is not for col2im, or nullptr.
const char* reject_col2im(const Conv2dProblem& problem);

}  // namespace fastconv::cpu
