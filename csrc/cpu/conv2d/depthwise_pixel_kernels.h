// The innermost loops of fprop and dgrad across channels: a vector is a run of channels of one
// pixel. The pixels come as pointers, those in the padding as pointers to zeros, so that borders,
// strides and dilation cost the kernels nothing.
//
// Every kernel adds the taps of an output in the same order, by row and then by column.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/conv2d/depthwise_unrolled.h"

namespace fastconv::cpu {
namespace {

template <class T, class E>
struct PixelsCall {
  const T* const* inputs;
  T* const* outputs;
  const E* weight;  // of tap (0, 0): a vector of channels; the next ones lie these steps on:
  int64_t weight_row, weight_col;
  int64_t tap_rows, tap_cols;
  const E* initial;  // what sums start from, for each channel
  int64_t channels;  // at least one vector
};

// Calls body(c) for vectors that cover the channels; the last one may overlap the one before it.
template <class V, class F>
[[gnu::always_inline]] inline void for_channels(int64_t channels, const F& body) {
  int64_t c = 0;
  for (; c + V::kLanes <= channels; c += V::kLanes) body(c);
  if (c < channels) body(channels - V::kLanes);
}

// RB x QB outputs; inputs is the ((RB - 1) * KS + NR) x ((QB - 1) * KS + NS) pixels under them, of
// which the (k, l)-th output's tap (a, b) reads (KS * k + a, KS * l + b).
template <class V, class T, int NR, int NS, int KS, int RB, int QB>
void unrolled_pixels(const PixelsCall<T, typename V::Element>& call) {
  using Vector = typename V::Vector;
  constexpr int kInRows = (RB - 1) * KS + NR, kInCols = (QB - 1) * KS + NS;
  for_channels<V>(call.channels, [&](int64_t c) __attribute__((always_inline)) {
    Vector sums[RB][QB];
    const Vector initial = V::load(call.initial + c);
    unrolled<RB>([&](auto k) __attribute__((always_inline)) {
      unrolled<QB>([&](auto l) __attribute__((always_inline)) { sums[k][l] = initial; });
    });
    Vector weight[NR][NS];
    unrolled<NR>([&](auto a) __attribute__((always_inline)) {
      unrolled<NS>([&](auto b) __attribute__((always_inline)) {
        weight[a][b] = V::load(call.weight + a * call.weight_row + b * call.weight_col + c);
      });
    });
    unrolled<kInRows>([&](auto t) __attribute__((always_inline)) {
      unrolled<kInCols>([&](auto u) __attribute__((always_inline)) {
        const Vector in = V::load(call.inputs[t * kInCols + u] + c);
        unrolled<RB>([&](auto k) __attribute__((always_inline)) {
          unrolled<QB>([&](auto l) __attribute__((always_inline)) {
            constexpr int a = decltype(t)::value - KS * decltype(k)::value;
            constexpr int b = decltype(u)::value - KS * decltype(l)::value;
            if constexpr (a >= 0 && a < NR && b >= 0 && b < NS) {
              sums[k][l] = V::fma(weight[a][b], in, sums[k][l]);
            }
          });
        });
      });
    });
    unrolled<RB>([&](auto k) __attribute__((always_inline)) {
      unrolled<QB>([&](auto l) __attribute__((always_inline)) {
        V::store(call.outputs[k * QB + l] + c, sums[k][l]);
      });
    });
  });
}

// QB outputs, any number of taps; inputs is QB pixels for each tap.
template <class V, class T, int QB>
void any_pixels(const PixelsCall<T, typename V::Element>& call) {
  using Vector = typename V::Vector;
  for_channels<V>(call.channels, [&](int64_t c) __attribute__((always_inline)) {
    Vector sums[QB];
    const Vector initial = V::load(call.initial + c);
    unrolled<QB>([&](auto l) __attribute__((always_inline)) { sums[l] = initial; });
    const T* const* in = call.inputs;
    for (int64_t a = 0; a < call.tap_rows; ++a) {
      for (int64_t b = 0; b < call.tap_cols; ++b, in += QB) {
        const Vector w = V::load(call.weight + a * call.weight_row + b * call.weight_col + c);
        unrolled<QB>([&](auto l) __attribute__((always_inline)) {
          sums[l] = V::fma(w, V::load(in[l] + c), sums[l]);
        });
      }
    }
    unrolled<QB>([&](auto l)
                     __attribute__((always_inline)) { V::store(call.outputs[l] + c, sums[l]); });
  });
}

constexpr int kBlockRows = 2, kBlockCols = 4, kAnyCols = 8;

// A kernel and the shape of its call. in_rows = 0: any_pixels, kAnyCols outputs in one row.
template <class V, class T>
struct PixelsKernel {
  void (*run)(const PixelsCall<T, typename V::Element>&);
  int64_t in_rows = 0, in_cols = 0;
};

template <class V, class T, int NR, int NS, int KS>
constexpr PixelsKernel<V, T> unrolled_kernel() {
  return {unrolled_pixels<V, T, NR, NS, KS, kBlockRows, kBlockCols>, (kBlockRows - 1) * KS + NR,
          (kBlockCols - 1) * KS + NS};
}

// For taps that lie `step` pixels apart where outputs lie `overlap` times as far.
template <class V, class T>
PixelsKernel<V, T> pixels_kernel(int64_t tap_rows, int64_t tap_cols, int64_t overlap) {
  const int64_t taps = tap_rows < 10 && tap_cols < 10 ? 10 * tap_rows + tap_cols : 0;
  if (overlap == 1) {
    switch (taps) {
      case 11:
        return unrolled_kernel<V, T, 1, 1, 1>();
      case 12:
        return unrolled_kernel<V, T, 1, 2, 1>();
      case 21:
        return unrolled_kernel<V, T, 2, 1, 1>();
      case 22:
        return unrolled_kernel<V, T, 2, 2, 1>();
      case 23:
        return unrolled_kernel<V, T, 2, 3, 1>();
      case 32:
        return unrolled_kernel<V, T, 3, 2, 1>();
      case 33:
        return unrolled_kernel<V, T, 3, 3, 1>();
      case 55:
        return unrolled_kernel<V, T, 5, 5, 1>();
    }
  }
  if (overlap == 2) {
    switch (taps) {
      case 33:
        return unrolled_kernel<V, T, 3, 3, 2>();
      case 55:
        return unrolled_kernel<V, T, 5, 5, 2>();
    }
  }
  return {any_pixels<V, T, kAnyCols>};
}

}  // namespace
}  // namespace fastconv::cpu
