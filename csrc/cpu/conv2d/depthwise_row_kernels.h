// The innermost loops of fprop and dgrad along rows: a vector is a run of outputs in one row, and a
// block of rows is worked at once so that each input vector is loaded once and used for every
// output row that it reaches.
//
// Every kernel adds the taps of an output in the same order, by row and then by column, so that a
// result does not depend on how the plane is cut into blocks.
#pragma once

#include <cstdint>

#include "cpu/conv2d/depthwise_unrolled.h"

namespace fastconv::cpu {
namespace {

// E is the type of the sums, U of the outputs.
template <class E, class U>
struct RowsCall {
  const E* scratch;
  int64_t row_elements;
  int64_t slot_step,
      slot_spacing;  // output row i, tap row a: slot i * slot_step + a * slot_spacing
  int64_t tap_rows, tap_cols;
  const int64_t* columns;  // where in a scratch row the column of a tap begins
  const E* weight;         // tap_rows x tap_cols
  E initial;
  bool accumulate;  // add to what the output holds instead of to `initial`
  U* output;
  int64_t output_stride;  // of rows
  int64_t rows, cols;
};

template <class V, class U, int RB>
[[gnu::always_inline]] inline void start_sums(const RowsCall<typename V::Element, U>& call,
                                              const U* output, int64_t output_stride, int64_t left,
                                              typename V::Vector (&sums)[RB]) {
  if (call.accumulate) {
    unrolled<RB>([&](auto k) __attribute__((always_inline)) {
      sums[k] = V::load_first(output + k * output_stride, left < V::kLanes ? left : V::kLanes);
    });
  } else {
    const typename V::Vector initial = V::splat(call.initial);
    unrolled<RB>([&](auto k) __attribute__((always_inline)) { sums[k] = initial; });
  }
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
int64_t unrolled_rows(const RowsCall<typename V::Element, U>& call, int64_t first, int64_t apart) {
  using Vector = typename V::Vector;
  Vector weight[NR][NS];
  unrolled<NR>([&](auto a) __attribute__((always_inline)) {
    unrolled<NS>([&](auto b) __attribute__((always_inline)) {
      weight[a][b] = V::splat(call.weight[a * NS + b]);
    });
  });
  int64_t columns[NS];
  unrolled<NS>([&](auto b) __attribute__((always_inline)) { columns[b] = call.columns[b]; });
  const int64_t tap_pitch = call.slot_spacing * call.row_elements;
  const int64_t output_stride = apart * call.output_stride;

  for (; first + (RB - 1) * apart < call.rows; first += RB * apart) {
    const auto* x = call.scratch + first * call.slot_step * call.row_elements;
    U* output = call.output + first * call.output_stride;
    for (int64_t left = call.cols; left > 0; left -= V::kLanes) {
      Vector sums[RB];
      start_sums<V, U, RB>(call, output, output_stride, left, sums);
      unrolled<(RB - 1) * KS + NR>([&](auto t) __attribute__((always_inline)) {
        unrolled<NS>([&](auto b) __attribute__((always_inline)) {
          const Vector in = V::load(x + t * tap_pitch + columns[b]);
          unrolled<RB>([&](auto k) __attribute__((always_inline)) {
            constexpr int a = decltype(t)::value - KS * decltype(k)::value;
            if constexpr (a >= 0 && a < NR) sums[k] = V::fma(weight[a][b], in, sums[k]);
          });
        });
      });
      store_sums<V, U, RB>(output, output_stride, left, sums);
      x += V::kLanes;
      output += V::kLanes;
    }
  }
  return first;
}

template <class V, class U, int NR, int NS, int KS>
void unrolled_plane(const RowsCall<typename V::Element, U>& call) {
  const int64_t apart = KS == 1 ? call.slot_spacing / call.slot_step : 1;
  for (int64_t residue = 0; residue < apart; ++residue) {
    const int64_t rest = unrolled_rows<V, U, NR, NS, KS, 4>(call, residue, apart);
    unrolled_rows<V, U, NR, NS, KS, 1>(call, rest, apart);
  }
}

// Any number of taps.
template <class V, class U, int RB>
int64_t any_rows(const RowsCall<typename V::Element, U>& call, int64_t first) {
  using Vector = typename V::Vector;
  for (; first + RB <= call.rows; first += RB) {
    const int64_t row_pitch = call.slot_step * call.row_elements;
    const auto* scratch = call.scratch + first * row_pitch;
    for (int64_t col = 0; col < call.cols; col += V::kLanes) {
      U* output = call.output + first * call.output_stride + col;
      Vector sums[RB];
      start_sums<V, U, RB>(call, output, call.output_stride, call.cols - col, sums);
      const auto* weight = call.weight;
      for (int64_t a = 0; a < call.tap_rows; ++a) {
        const auto* tap_row = scratch + a * call.slot_spacing * call.row_elements + col;
        for (int64_t b = 0; b < call.tap_cols; ++b) {
          const auto* x = tap_row + call.columns[b];
          const Vector w = V::splat(*weight++);
          unrolled<RB>([&](auto k) __attribute__((always_inline)) {
            sums[k] = V::fma(w, V::load(x + k * row_pitch), sums[k]);
          });
        }
      }
      store_sums<V, U, RB>(output, call.output_stride, call.cols - col, sums);
    }
  }
  return first;
}

template <class V, class U>
void any_plane(const RowsCall<typename V::Element, U>& call) {
  any_rows<V, U, 1>(call, any_rows<V, U, 4>(call, 0));
}

template <class V, class U>
using RowsKernel = void (*)(const RowsCall<typename V::Element, U>&);

// The unrolled kernels are for what networks have: 3x3 and 5x5 at strides 1 and 2, and the residue
// classes that these fall into in dgrad.
template <class V, class U>
RowsKernel<V, U> rows_kernel(const RowsCall<typename V::Element, U>& call) {
  const int64_t taps = 10 * call.tap_rows + call.tap_cols;
  const bool small = call.tap_rows < 10 && call.tap_cols < 10;
  // Rows `apart` share their input; too far apart there is no block of them.
  if (small && call.slot_spacing % call.slot_step == 0 &&
      call.slot_spacing / call.slot_step * 2 <= call.rows) {
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
  if (small && call.slot_step == 2 * call.slot_spacing) {
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
