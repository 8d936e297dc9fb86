// wgrad as a product: a row is an output channel, a column an input channel and tap, and depth runs
// over the output pixels of one split (wgrad_splits.h): each split of each group is a part.
#pragma once

#include "cuda/conv2d/implicit_gemm.cuh"
#include "cuda/conv2d/shape.h"

namespace fastconv::cuda {

template <class T, class IndexType>
struct Wgrad {
  using Element = T;
  using Index = IndexType;
  using Accumulator = typename fastconv::cuda::Element<T>::Accumulator;

  struct Part {
    Extent<Index> extent;
    Index input, output;  // offsets of the group
    Index first_filter, split;
  };

  ConvShape<Index> shape;
  Operand<T, Index> a, b;
  Accumulator* sums;  // [split][filter][column], columns as tap_of numbers them
  Index splits, split_depth;
  bool rows_fastest_out, channels_fastest;

  Wgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace, int64_t splits,
        int64_t split_depth)
      : shape(p),
        a{static_cast<const T*>(t.output), 1, 1, p.output.c != 1},
        b{static_cast<const T*>(t.input), shape.H, shape.W, p.input.c != 1},
        sums(reinterpret_cast<Accumulator*>(workspace)),
        splits(static_cast<Index>(splits)),
        split_depth(static_cast<Index>(split_depth)),
        rows_fastest_out(false),
        channels_fastest(p.input.c == 1) {}

  __device__ Part part(Index index) const {
    const Index group = index / splits, split = index % splits;
    const Index depth = shape.batch * shape.P * shape.Q;
    const Index begin = split * split_depth;
    const Index end = depth - begin < split_depth ? depth : begin + split_depth;
    return {{shape.filters, shape.channels * shape.R * shape.S, begin, end},
            group * shape.channels * shape.input.c,
            group * shape.filters * shape.output.c,
            group * shape.filters,
            split};
  }

  __device__ Place<Index> row(const Part& part, Index m) const {
    return {part.output + m * shape.output.c, 0, 0};
  }

  __device__ Place<Index> column(const Part& part, Index n) const {
    const Tap<Index> tap = tap_of(n, shape.channels, shape.R, shape.S, channels_fastest);
    const Index h = tap.r * shape.dilation_h, w = tap.s * shape.dilation_w;
    const Index pixel =
        wrapping_add(wrapping_multiply(h, shape.input.h), wrapping_multiply(w, shape.input.w));
    return {wrapping_add(part.input + tap.channel * shape.input.c, pixel), h, w};
  }

  __device__ Place<Index> depth_a(const Part&, Index k) const {
    const Digits<Index> d = digits(k, shape.P, shape.Q);
    return {d.slow * shape.output.n + d.middle * shape.output.h + d.fast * shape.output.w, 0, 0};
  }

  __device__ Place<Index> depth_b(const Part&, Index k) const {
    const Digits<Index> d = digits(k, shape.P, shape.Q);
    const Index h = d.middle * shape.stride_h - shape.pad_h;
    const Index w = d.fast * shape.stride_w - shape.pad_w;
    const Index pixel =
        wrapping_add(wrapping_multiply(h, shape.input.h), wrapping_multiply(w, shape.input.w));
    return {wrapping_add(d.slow * shape.input.n, pixel), h, w};
  }

  __device__ Index row_out(const Part& part, Index m) const {
    const Index columns = shape.channels * shape.R * shape.S;
    return (part.split * shape.groups * shape.filters + part.first_filter + m) * columns;
  }

  __device__ Index column_out(const Part&, Index n) const { return n; }

  __device__ void store(const Part&, Index at, Index, Accumulator sum) const { sums[at] = sum; }
};

}  // namespace fastconv::cuda
