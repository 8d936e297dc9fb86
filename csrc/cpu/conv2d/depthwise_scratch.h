// The step in front of the depthwise kernels that work along rows: a block of one plane goes to
// scratch, widened to the type of the sums, padding written out as zeros and strided columns parted
// into arrays (ColumnLayout).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cpu/conv2d/depthwise_geometry.h"
#include "cpu/conv2d/depthwise_unrolled.h"
#include "cpu/dtype.h"

namespace fastconv::cpu {
namespace {

template <class V>
void fill_zero(typename V::Element* to, int64_t count) {
  int64_t t = 0;
  for (; t + V::kLanes <= count; t += V::kLanes) V::store(to + t, V::zero());
  if (t < count) V::store_first(to + t, V::zero(), count - t);
}

// Where in the scratch row of a block the elements come from. An array takes whole vectors of a
// row, masked to the columns that exist, or, where the columns are further than two apart or not
// dense, single elements. Masks and bounds cost more than the loads and planes may be small: they
// are worked out once and kept for as long as the tasks of a thread stay with the same columns.
template <class V>
struct ArrayFill {
  int64_t start;            // the column of element 0
  int64_t low, high;        // the elements that lie inside the row
  typename V::Mask* masks;  // step masks for each vector
};

template <class V>
struct FillTable {
  ArrayFill<V>* arrays;
  typename V::Mask* masks;
  int64_t first_col;
};

template <class V>
int64_t fill_table_bytes(const Axis& axis, const ColumnLayout& columns) {
  const int64_t vectors = columns.arrays * round_up(columns.length, V::kLanes) / V::kLanes;
  return round_up(columns.arrays * int64_t{sizeof(ArrayFill<V>)}, 64) +
         round_up(vectors * std::min<int64_t>(axis.in_step, 2) * int64_t{sizeof(typename V::Mask)},
                  64);
}

template <class V>
FillTable<V> empty_fill_table(const ColumnLayout& columns, std::byte* workspace) {
  return {reinterpret_cast<ArrayFill<V>*>(workspace),
          reinterpret_cast<typename V::Mask*>(
              workspace + round_up(columns.arrays * int64_t{sizeof(ArrayFill<V>)}, 64)),
          -1};
}

template <class V>
void prepare(FillTable<V>& table, const Axis& axis, const ColumnLayout& columns,
             int64_t first_col) {
  if (table.first_col == first_col) return;
  table.first_col = first_col;
  typename V::Mask* mask = table.masks;
  const int64_t step = axis.in_step;
  for (int64_t index = 0; index < columns.arrays; ++index) {
    ArrayFill<V>& array = table.arrays[index];
    array.start = columns.start(axis, index) + first_col * step;
    array.low = std::clamp<int64_t>(-floor_div(array.start, step), 0, columns.length);
    array.high =
        std::clamp<int64_t>(-floor_div(array.start - axis.in, step), array.low, columns.length);
    array.masks = mask;
    if (step > 2) continue;
    // Columns of this array that exist and are used, counted from `start`.
    const int64_t begin = array.low * step, end = array.high * step - (step - 1);
    for (int64_t t = 0; t < round_up(columns.length, V::kLanes) * step; t += V::kLanes) {
      *mask++ = V::range(begin - t, end - t);
    }
  }
}

// Rows of a dense tensor into one array, `kVectors` vectors of it, masks in registers. kStep is 1
// or 2.
template <class V, class T, int kStep, int kVectors>
void fill_narrow(typename V::Element* to, int64_t to_stride, const T* from, int64_t from_stride,
                 int64_t rows, const typename V::Mask* masks) {
  constexpr int64_t L = V::kLanes;
  typename V::Mask mask[kStep * kVectors];
  unrolled<kStep * kVectors>([&](auto v) __attribute__((always_inline)) { mask[v] = masks[v]; });
  for (int64_t row = 0; row < rows; ++row, to += to_stride, from += from_stride) {
    unrolled<kVectors>([&](auto v) __attribute__((always_inline)) {
      if constexpr (kStep == 1) {
        V::store(to + v * L, V::load(from + v * L, mask[v]));
      } else {
        V::store(to + v * L, V::evens(V::load(from + 2 * v * L, mask[2 * v]),
                                      V::load(from + (2 * v + 1) * L, mask[2 * v + 1])));
      }
    });
  }
}

// `rows` rows of a tensor into one array of as many scratch rows. What lies between the length and
// the pitch of an array stays as it is: kernels read it only into lanes that they drop.
template <class V, class T>
void fill_rows(typename V::Element* to, int64_t to_stride, const T* from, const Strides4& strides,
               int64_t rows, int64_t step, int64_t length, const ArrayFill<V>& array) {
  constexpr int64_t L = V::kLanes;
  if (step > 2 || strides.w != 1) {
    from += array.start * strides.w;
    for (int64_t row = 0; row < rows; ++row, to += to_stride, from += strides.h) {
      fill_zero<V>(to, length);
      for (int64_t t = array.low; t < array.high; ++t) {
        to[t] = Storage<T>::load(from[t * step * strides.w]);
      }
    }
    return;
  }
  from += array.start;
  const int64_t vectors = (length + L - 1) / L;
  if (vectors == 1) {
    return step == 1 ? fill_narrow<V, T, 1, 1>(to, to_stride, from, strides.h, rows, array.masks)
                     : fill_narrow<V, T, 2, 1>(to, to_stride, from, strides.h, rows, array.masks);
  }
  if (vectors == 2) {
    return step == 1 ? fill_narrow<V, T, 1, 2>(to, to_stride, from, strides.h, rows, array.masks)
                     : fill_narrow<V, T, 2, 2>(to, to_stride, from, strides.h, rows, array.masks);
  }
  for (int64_t row = 0; row < rows; ++row, to += to_stride, from += strides.h) {
    const typename V::Mask* mask = array.masks;
    if (step == 1) {
      for (int64_t t = 0; t < length; t += L) V::store(to + t, V::load(from + t, *mask++));
    } else {
      for (int64_t t = 0; t < length; t += L, mask += 2) {
        V::store(to + t,
                 V::evens(V::load(from + 2 * t, mask[0]), V::load(from + 2 * t + L, mask[1])));
      }
    }
  }
}

// The slots that a block of outputs reads, from the plane at `plane`.
template <class V, class T>
void fill_block(typename V::Element* to, const T* plane, const Strides4& strides, const Axes& axes,
                const TapClass& row_taps, const RowLayout& rows, const BlockPlan& plan,
                int64_t first_row, const FillTable<V>& table) {
  const ColumnLayout& columns = plan.columns;
  // In a shared layout the slots are consecutive rows, else each is a row of its own.
  const int64_t run = rows.shared ? rows.slots : 1;
  for (int64_t slot = 0; slot < rows.slots; slot += run, to += run * plan.row_elements) {
    const int64_t h = rows.input_row(row_taps, axes.row, first_row, slot);
    const int64_t low = std::clamp<int64_t>(-h, 0, run);
    const int64_t high = std::clamp<int64_t>(axes.row.in - h, low, run);
    fill_zero<V>(to, low * plan.row_elements);
    fill_zero<V>(to + high * plan.row_elements, (run - high) * plan.row_elements);
    if (low == high) continue;
    for (int64_t array = 0; array < columns.arrays; ++array) {
      fill_rows<V, T>(to + low * plan.row_elements + array * columns.pitch, plan.row_elements,
                      plane + (h + low) * strides.h, strides, high - low, axes.col.in_step,
                      columns.length, table.arrays[array]);
    }
  }
}

}  // namespace
}  // namespace fastconv::cpu
