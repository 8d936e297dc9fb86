// The innermost loops of fprop and dgrad along rows: a vector is a run of outputs in one row, and a
// block of rows is worked at once so that each input vector is loaded once and used for every
// output row that it reaches.
//
// Every kernel adds the taps of an output in the same order, by row and then by column, so that a
// result does not depend on how the plane is cut into blocks.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cpu/conv2d/depthwise_unrolled.h"

namespace fastconv::cpu {
namespace {

// What a kernel reads, in the type of the sums.
template <class E>
struct RowsInput {
  const E* scratch;
  int64_t row_elements;
  // Output row i's tap row a reads slot i * slot_step + a * slot_spacing.
  int64_t slot_step, slot_spacing;
  int64_t apart;  // RowLayout::apart()
  int64_t tap_rows, tap_cols;
  const int64_t* columns;  // where in a scratch row the column of a tap begins
  const E* weight;         // tap_rows x tap_cols
  E initial;
  bool accumulate;  // add to what the output holds instead of to `initial`
  int64_t rows, cols;
};

template <class V, class U, int RB>
[[gnu::always_inline]] inline void start_sums(const RowsInput<typename V::Element>& input,
                                              const U* output, int64_t output_stride, int64_t left,
                                              typename V::Vector (&sums)[RB]) {
  // Only sums that have not been rounded are added to.
  if constexpr (std::is_same_v<U, typename V::Element>) {
    if (input.accumulate) {
      unrolled<RB>([&](auto k) __attribute__((always_inline)) {
        sums[k] = V::load_first(output + k * output_stride, left < V::kLanes ? left : V::kLanes);
      });
      return;
    }
  }
  const typename V::Vector initial = V::splat(input.initial);
  unrolled<RB>([&](auto k) __attribute__((always_inline)) { sums[k] = initial; });
}

template <class V, class U, int RB>
[[gnu::always_inline]] inline void store_sums(U* output, int64_t output_stride, int64_t left,
                                              const typename V::Vector (&sums)[RB]) {
  if (left >= V::kLanes) {
    unrolled<RB>([&](auto k) __attribute__((always_inline)) {
      V::store(output + k * output_stride, sums[k]);
    });
  } else {
    unrolled<RB>([&](auto k) __attribute__((always_inline)) {
      V::store_first(output + k * output_stride, sums[k], left);
    });
  }
}

// Rows first, first + apart, ... of which slot i * slot_step + (KS * k + a) * slot_spacing belongs
// to the k-th one's tap row a. Returns the first row not done: less than RB * apart are left.
template <class V, class U, int NR, int NS, int KS, int RB>
int64_t unrolled_rows(const RowsInput<typename V::Element>& input, U* outputs, int64_t stride,
                      int64_t first, int64_t apart) {
  using Vector = typename V::Vector;
  Vector weight[NR][NS];
  unrolled<NR>([&](auto a) __attribute__((always_inline)) {
    unrolled<NS>([&](auto b) __attribute__((always_inline)) {
      weight[a][b] = V::splat(input.weight[a * NS + b]);
    });
  });
  int64_t columns[NS];
  unrolled<NS>([&](auto b) __attribute__((always_inline)) { columns[b] = input.columns[b]; });
  const int64_t tap_pitch = input.slot_spacing * input.row_elements;
  const int64_t output_stride = apart * stride;

  for (; first + (RB - 1) * apart < input.rows; first += RB * apart) {
    const auto* x = input.scratch + first * input.slot_step * input.row_elements;
    U* output = outputs + first * stride;
    for (int64_t left = input.cols; left > 0; left -= V::kLanes) {
      Vector sums[RB];
      start_sums<V, U, RB>(input, output, output_stride, left, sums);
      const auto* row = x;
      unrolled<(RB - 1) * KS + NR>([&](auto t) __attribute__((always_inline)) {
        unrolled<NS>([&](auto b) __attribute__((always_inline)) {
          const Vector in = V::load(row + columns[b]);
          unrolled<RB>([&](auto k) __attribute__((always_inline)) {
            constexpr int a = decltype(t)::value - KS * decltype(k)::value;
            if constexpr (a >= 0 && a < NR) sums[k] = V::fma(weight[a][b], in, sums[k]);
          });
        });
        step_pointer(row, tap_pitch);
      });
      store_sums<V, U, RB>(output, output_stride, left, sums);
      x += V::kLanes;
      output += V::kLanes;
    }
  }
  return first;
}

template <class V, class U, int NR, int NS, int KS>
void unrolled_plane(const RowsInput<typename V::Element>& input, U* outputs, int64_t stride) {
  const int64_t apart = KS == 1 ? input.apart : 1;
  for (int64_t residue = 0; residue < apart; ++residue) {
    int64_t row = residue;
    if (row + 3 * apart < input.rows)
      row = unrolled_rows<V, U, NR, NS, KS, 4>(input, outputs, stride, row, apart);
    if (row + apart < input.rows)
      row = unrolled_rows<V, U, NR, NS, KS, 2>(input, outputs, stride, row, apart);
    if (row < input.rows) unrolled_rows<V, U, NR, NS, KS, 1>(input, outputs, stride, row, apart);
  }
}

// Any number of taps.
template <class V, class U, int RB>
int64_t any_rows(const RowsInput<typename V::Element>& input, U* outputs, int64_t stride,
                 int64_t first) {
  using Vector = typename V::Vector;
  for (; first + RB <= input.rows; first += RB) {
    const int64_t row_pitch = input.slot_step * input.row_elements;
    const auto* scratch = input.scratch + first * row_pitch;
    for (int64_t col = 0; col < input.cols; col += V::kLanes) {
      U* output = outputs + first * stride + col;
      Vector sums[RB];
      start_sums<V, U, RB>(input, output, stride, input.cols - col, sums);
      const auto* weight = input.weight;
      for (int64_t a = 0; a < input.tap_rows; ++a) {
        const auto* tap_row = scratch + a * input.slot_spacing * input.row_elements + col;
        for (int64_t b = 0; b < input.tap_cols; ++b) {
          const auto* x = tap_row + input.columns[b];
          const Vector w = V::splat(*weight++);
          unrolled<RB>([&](auto k) __attribute__((always_inline)) {
            sums[k] = V::fma(w, V::load(x + k * row_pitch), sums[k]);
          });
        }
      }
      store_sums<V, U, RB>(output, stride, input.cols - col, sums);
    }
  }
  return first;
}

template <class V, class U>
void any_plane(const RowsInput<typename V::Element>& input, U* outputs, int64_t stride) {
  any_rows<V, U, 1>(input, outputs, stride, any_rows<V, U, 4>(input, outputs, stride, 0));
}

// U is the type of the outputs, `stride` the distance of their rows.
template <class V, class U>
using RowsKernel = void (*)(const RowsInput<typename V::Element>&, U* output, int64_t stride);

// The unrolled kernels are for what networks have: 3x3 and 5x5 at strides 1 and 2, and the residue
// classes that these fall into in dgrad.
template <class V, class U>
RowsKernel<V, U> rows_kernel(const RowsInput<typename V::Element>& input) {
  const int64_t taps = 10 * input.tap_rows + input.tap_cols;
  const bool small = input.tap_rows < 10 && input.tap_cols < 10;
  // Rows `apart` share their input; too far apart there is no block of them.
  if (small && input.apart > 0 && (input.apart == 1 || input.apart * 2 <= input.rows)) {
    switch (taps) {
      case 11:
        return unrolled_plane<V, U, 1, 1, 1>;
      case 12:
        return unrolled_plane<V, U, 1, 2, 1>;
      case 21:
        return unrolled_plane<V, U, 2, 1, 1>;
      case 22:
        return unrolled_plane<V, U, 2, 2, 1>;
      case 23:
        return unrolled_plane<V, U, 2, 3, 1>;
      case 32:
        return unrolled_plane<V, U, 3, 2, 1>;
      case 33:
        return unrolled_plane<V, U, 3, 3, 1>;
      case 55:
        return unrolled_plane<V, U, 5, 5, 1>;
    }
  }
  if (small && input.slot_step == 2 * input.slot_spacing) {
    switch (taps) {
      case 33:
        return unrolled_plane<V, U, 3, 3, 2>;
      case 55:
        return unrolled_plane<V, U, 5, 5, 2>;
    }
  }
  return any_plane<V, U>;
}

}  // namespace
}  // namespace fastconv::cpu
