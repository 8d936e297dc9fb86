// A convolution problem as the kernels carry it: every number in one index type, channels counted
// within a group.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "cuda/device.h"
#include "problem.h"

namespace fastconv::cuda {

template <class Index>
struct TensorStrides {
  Index n, c, h, w;
  TensorStrides(const Strides4& s)
      : n(static_cast<Index>(s.n)),
        c(static_cast<Index>(s.c)),
        h(static_cast<Index>(s.h)),
        w(static_cast<Index>(s.w)) {}
};

template <class Index>
struct ConvShape {
  Index batch, groups, channels, filters;  // of one group
  Index H, W, R, S, P, Q;
  Index stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  TensorStrides<Index> input, weight, output;

  explicit ConvShape(const Conv2dProblem& p)
      : batch(static_cast<Index>(p.N)),
        groups(static_cast<Index>(p.groups)),
        channels(static_cast<Index>(p.group_in_channels())),
        filters(static_cast<Index>(p.group_out_channels())),
        H(static_cast<Index>(p.H)),
        W(static_cast<Index>(p.W)),
        R(static_cast<Index>(p.R)),
        S(static_cast<Index>(p.S)),
        P(static_cast<Index>(p.P)),
        Q(static_cast<Index>(p.Q)),
        stride_h(static_cast<Index>(p.stride.h)),
        stride_w(static_cast<Index>(p.stride.w)),
        pad_h(static_cast<Index>(p.pad.h)),
        pad_w(static_cast<Index>(p.pad.w)),
        dilation_h(static_cast<Index>(p.dilation.h)),
        dilation_w(static_cast<Index>(p.dilation.w)),
        input(p.input),
        weight(p.weight),
        output(p.output) {}
};

// May every index and every intermediate of them be an int32? Bounds in double, which cannot
// overflow; half the range is left for sums.
inline bool fits_int32(const Conv2dProblem& p) {
  constexpr double kMost = 1 << 30;
  const auto d = [](int64_t x) { return static_cast<double>(x); };
  const double rows = d(p.H) + 2 * d(p.pad.h) + d(p.dilation.h) * d(p.R) + d(p.stride.h) * d(p.P);
  const double columns =
      d(p.W) + 2 * d(p.pad.w) + d(p.dilation.w) * d(p.S) + d(p.stride.w) * d(p.Q);
  const auto reach = [&](int64_t n, int64_t c, const Strides4& s) {
    return d(n) * d(s.n) + d(c) * d(s.c) + rows * d(s.h) + columns * d(s.w);
  };
  const double weight = d(p.K) * d(p.weight.n) + d(p.C) * d(p.weight.c) + d(p.R) * d(p.weight.h) +
                        d(p.S) * d(p.weight.w);
  const double pixels = d(p.N) * std::max(d(p.P) * d(p.Q), d(p.H) * d(p.W));
  const double taps = (d(p.C) + d(p.K)) * d(p.R) * d(p.S);
  return std::max({rows, columns, reach(p.N, p.C, p.input), reach(p.N, p.K, p.output), weight,
                   pixels, taps}) < kMost;
}

// The three digits of a number in a mixed radix.
template <class Index>
struct Digits {
  Index slow, middle, fast;
};

template <class Index>
__device__ Digits<Index> digits(Index number, Index middle_extent, Index fast_extent) {
  const Index rest = number / fast_extent;
  return {rest / middle_extent, rest % middle_extent, number % fast_extent};
}

// A channel and a tap of the window, numbered with the channel fastest or slowest.
template <class Index>
struct Tap {
  Index channel, r, s;
};

template <class Index>
__device__ Tap<Index> tap_of(Index number, Index channels, Index R, Index S,
                             bool channels_fastest) {
  if (channels_fastest) {
    const Digits<Index> d = digits(number, S, channels);
    return {d.fast, d.slow, d.middle};
  }
  const Digits<Index> d = digits(number, R, S);
  return {d.slow, d.middle, d.fast};
}

}  // namespace fastconv::cuda
