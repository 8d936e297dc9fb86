// A pooling problem as the kernels carry it, in one index type.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/device.h"
#include "problem.h"

namespace fastconv::cuda {

template <class Index>
struct PoolAxis {
  Index extent, outputs, kernel, stride, pad, dilation;
  PoolAxis(int64_t extent, int64_t outputs, int64_t kernel, int64_t stride, int64_t pad,
           int64_t dilation)
      : extent(static_cast<Index>(extent)),
        outputs(static_cast<Index>(outputs)),
        kernel(static_cast<Index>(kernel)),
        stride(static_cast<Index>(stride)),
        pad(static_cast<Index>(pad)),
        dilation(static_cast<Index>(dilation)) {}
};

template <class Index>
struct PoolStrides {
  Index n, c, h, w;
  PoolStrides(const Strides4& s)
      : n(static_cast<Index>(s.n)),
        c(static_cast<Index>(s.c)),
        h(static_cast<Index>(s.h)),
        w(static_cast<Index>(s.w)) {}
};

template <class Index>
struct PoolShape {
  Index batch, channels;
  PoolAxis<Index> h, w;
  PoolStrides<Index> input, output;
  bool channels_fastest;  // neighbouring threads take neighbouring channels

  explicit PoolShape(const Pool2dProblem& p)
      : batch(static_cast<Index>(p.N)),
        channels(static_cast<Index>(p.C)),
        h(p.H, p.P, p.kernel.h, p.stride.h, p.pad.h, p.dilation.h),
        w(p.W, p.Q, p.kernel.w, p.stride.w, p.pad.w, p.dilation.w),
        input(p.input),
        output(p.output),
        channels_fastest(p.input.c == 1) {}
};

// May every index and every intermediate of them be an int32? Bounds in double, which cannot
// overflow; half the range is left for sums.
inline bool fits_int32(const Pool2dProblem& p) {
  constexpr double kMost = 1 << 30;
  const auto d = [](int64_t x) { return static_cast<double>(x); };
  const auto reach = [&](int64_t h, int64_t w, const Strides4& s) {
    return d(p.N) * d(s.n) + d(p.C) * d(s.c) + d(h) * d(s.h) + d(w) * d(s.w);
  };
  const double rows =
      d(p.H) + 2 * d(p.pad.h) + d(p.dilation.h) * d(p.kernel.h) + d(p.stride.h) * d(p.P);
  const double columns =
      d(p.W) + 2 * d(p.pad.w) + d(p.dilation.w) * d(p.kernel.w) + d(p.stride.w) * d(p.Q);
  const double cells = d(p.N) * d(p.C) * std::max(d(p.H) * d(p.W), d(p.P) * d(p.Q));
  return std::max({rows, columns, cells, reach(p.H, p.W, p.input), reach(p.P, p.Q, p.output)}) <
         kMost;
}

// A cell of a batch of planes.
template <class Index>
struct Cell {
  Index n, c, h, w;
};

template <class Index>
__device__ Cell<Index> cell_of(Index number, Index channels, Index rows, Index columns,
                               bool channels_fastest) {
  if (channels_fastest) {
    const Index pixel = number / channels, row = pixel / columns;
    return {row / rows, number % channels, row % rows, pixel % columns};
  }
  const Index row = number / columns, plane = row / rows;
  return {plane / channels, plane % channels, row % rows, number % columns};
}

template <class Index>
__device__ Index offset_of(const PoolStrides<Index>& s, const Cell<Index>& cell) {
  return cell.n * s.n + cell.c * s.c + cell.h * s.h + cell.w * s.w;
}

}  // namespace fastconv::cuda
