// The step in front of the depthwise kernels that work along rows: a block of one plane goes to
// scratch, widened to the type of the sums, padding written out as zeros and strided columns parted
// into arrays (ColumnLayout).
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/conv2d/depthwise_geometry.h"
#include "cpu/dtype.h"

namespace fastconv::cpu {
namespace {

template <class V>
void fill_zero(typename V::Element* to, int64_t count) {
  int64_t t = 0;
  for (; t + V::kLanes <= count; t += V::kLanes) V::store(to + t, V::zero());
  if (t < count) V::store_first(to + t, V::zero(), count - t);
}

// A row of a tensor: `extent` elements, `stride` apart.
template <class T>
struct Row {
  const T* data;
  int64_t stride, extent;
};

// to[t] = row[start + t * step] for t < length, zero where that lies outside the row, zero up to
// pitch.
template <class V, class T>
void fill_array(typename V::Element* to, int64_t pitch, const Row<T>& row, int64_t start,
                int64_t step, int64_t length) {
  constexpr int64_t L = V::kLanes;
  const int64_t low = std::clamp<int64_t>(-floor_div(start, step), 0, length);
  const int64_t high = std::clamp<int64_t>(-floor_div(start - row.extent, step), low, length);
  for (int64_t t = 0; t < low; ++t) to[t] = 0;
  int64_t t = low;
  const auto put = [&](typename V::Vector x) __attribute__((always_inline)) {
    if (t + L <= pitch) {
      V::store(to + t, x);
    } else {
      V::store_first(to + t, x, pitch - t);
    }
  };
  if (step == 1 && row.stride == 1) {
    const T* from = row.data + start;
    for (; t < high; t += L) {
      put(high - t >= L ? V::load(from + t) : V::load_first(from + t, high - t));
    }
  } else if (step == 2 && row.stride == 1) {
    for (; t < high; t += L) {
      const T* from = row.data + start + 2 * t;
      // The last column of this array: nothing beyond it may be read.
      const int64_t readable = 2 * (high - t) - 1;
      if (readable >= 2 * L) {
        put(V::evens(V::load(from), V::load(from + L)));
      } else {
        const typename V::Vector low_half = V::load_first(from, std::min(readable, L));
        const typename V::Vector high_half =
            readable > L ? V::load_first(from + L, readable - L) : V::zero();
        put(V::evens(low_half, high_half));
      }
    }
  } else {
    const T* from = row.data + start * row.stride;
    for (; t < high; ++t) to[t] = Storage<T>::load(from[t * step * row.stride]);
  }
  if (t < pitch) fill_zero<V>(to + t, pitch - t);
}

// The slots that a block of outputs reads, from the plane at `plane`.
template <class V, class T>
void fill_block(typename V::Element* to, const T* plane, const Strides4& strides, const Axes& axes,
                const TapClass& row_taps, const RowLayout& rows, const BlockPlan& plan,
                int64_t first_row, int64_t first_col) {
  const ColumnLayout& columns = plan.columns;
  for (int64_t slot = 0; slot < rows.slots; ++slot, to += plan.row_elements) {
    const int64_t h = rows.input_row(row_taps, axes.row, first_row, slot);
    if (h < 0 || h >= axes.row.in) {
      fill_zero<V>(to, plan.row_elements);
      continue;
    }
    const Row<T> row{plane + h * strides.h, strides.w, axes.col.in};
    for (int64_t array = 0; array < columns.arrays; ++array) {
      fill_array<V, T>(to + array * columns.pitch, columns.pitch, row,
                       columns.start(axes.col, array) + first_col * axes.col.in_step,
                       axes.col.in_step, columns.length);
    }
  }
}

}  // namespace
}  // namespace fastconv::cpu
