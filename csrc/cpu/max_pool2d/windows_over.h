// What both gathers of the backward share: which windows hold an input cell, the output rows that
// are kept while some input row may ask for them, and the check of what is data.
//
// Include this below a `#pragma GCC target`, with its own includes already included above it.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "cpu/max_pool2d/tasks.h"
#include "problem.h"

namespace fastconv::cpu {
namespace {

// The outputs whose window, one without dilation, holds the cell at `in` of one axis.
Share windows_over(int64_t in, int64_t outputs, int64_t kernel, int64_t stride, int64_t pad) {
  const int64_t padded = in + pad;
  const int64_t end = std::min(padded / stride + 1, outputs);
  const int64_t first = padded < kernel ? 0 : (padded - kernel) / stride + 1;
  return {std::min(first, end), end};
}

Share window_rows_over(const Pool2dProblem& p, int64_t ih) {
  return windows_over(ih, p.P, p.kernel.h, p.stride.h, p.pad.h);
}

Share window_columns_over(const Pool2dProblem& p, int64_t iw) {
  return windows_over(iw, p.Q, p.kernel.w, p.stride.w, p.pad.w);
}

// Output rows that are kept at a time: those over one input row and `ahead` more, rounded up to a
// power of two, so that a row's place is the low bits of its number.
int64_t kept_output_rows(const Pool2dProblem& p, int64_t ahead) {
  const int64_t over = std::min(divide_up(p.kernel.h, p.stride.h), p.P);
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(over + ahead)));
}

// Whether the first `count` lanes of `index` name cells of their window: `behind` is how far each
// lies behind the first cell of the window's first row inside the plane, `length` how many columns
// the window has there.
template <class V>
bool are_in_window(typename V::Indices behind, typename V::Indices length, int64_t rows,
                   typename V::Indices minus_row, int64_t count) {
  typename V::Mask inside = V::below(behind, length);
  for (int64_t row = 1; row < rows; ++row) {
    behind = V::add(behind, minus_row);
    inside = V::either(inside, V::below(behind, length));
  }
  return V::holds(inside, count);
}

}  // namespace
}  // namespace fastconv::cpu
