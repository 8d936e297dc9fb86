// fprop as a product: a row is an output pixel, a column an output channel, depth runs over the
// input channels and taps of one group, and each group is a part.
#pragma once

#include "cuda/conv2d/implicit_gemm.cuh"
#include "cuda/conv2d/shape.h"

namespace fastconv::cuda {

template <class T, class IndexType>
struct Fprop {
  using Element = T;
  using Index = IndexType;

  struct Part {
    Extent<Index> extent;
    Index input, weight, output;  // offsets of the group
    Index first_filter;
  };

  ConvShape<Index> shape;
  Operand<T, Index> a, b;
  const T* bias;  // or null
  T* output;
  bool rows_fastest_out, channels_fastest;

  Fprop(const Conv2dProblem& p, const Conv2dTensors& t)
      : shape(p),
        a{static_cast<const T*>(t.input), shape.H, shape.W, p.input.c == 1},
        b{static_cast<const T*>(t.weight), 1, 1, p.weight.n != 1},
        bias(static_cast<const T*>(t.bias)),
        output(static_cast<T*>(t.output)),
        rows_fastest_out(p.output.c != 1),
        channels_fastest(p.input.c == 1) {}

  __device__ Part part(Index group) const {
    const Index channel = group * shape.channels, filter = group * shape.filters;
    return {{shape.batch * shape.P * shape.Q, shape.filters, 0, shape.channels * shape.R * shape.S},
            channel * shape.input.c,
            filter * shape.weight.n,
            filter * shape.output.c,
            filter};
  }

  __device__ Place<Index> row(const Part& part, Index m) const {
    const Digits<Index> d = digits(m, shape.P, shape.Q);
    const Index h = d.middle * shape.stride_h - shape.pad_h;
    const Index w = d.fast * shape.stride_w - shape.pad_w;
    const Index pixel =
        wrapping_add(wrapping_multiply(h, shape.input.h), wrapping_multiply(w, shape.input.w));
    return {wrapping_add(part.input + d.slow * shape.input.n, pixel), h, w};
  }

  __device__ Place<Index> column(const Part& part, Index n) const {
    return {part.weight + n * shape.weight.n, 0, 0};
  }

  __device__ Place<Index> depth_a(const Part&, Index k) const {
    const Tap<Index> tap = tap_of(k, shape.channels, shape.R, shape.S, channels_fastest);
    const Index h = tap.r * shape.dilation_h, w = tap.s * shape.dilation_w;
    const Index pixel =
        wrapping_add(wrapping_multiply(h, shape.input.h), wrapping_multiply(w, shape.input.w));
    return {wrapping_add(tap.channel * shape.input.c, pixel), h, w};
  }

  __device__ Place<Index> depth_b(const Part&, Index k) const {
    const Tap<Index> tap = tap_of(k, shape.channels, shape.R, shape.S, channels_fastest);
    return {tap.channel * shape.weight.c + tap.r * shape.weight.h + tap.s * shape.weight.w, 0, 0};
  }

  __device__ Index row_out(const Part& part, Index m) const {
    const Digits<Index> d = digits(m, shape.P, shape.Q);
    return part.output + d.slow * shape.output.n + d.middle * shape.output.h +
           d.fast * shape.output.w;
  }

  __device__ Index column_out(const Part&, Index n) const { return n * shape.output.c; }

  __device__ void store(const Part& part, Index at, Index n,
                        typename fastconv::cuda::Element<T>::Accumulator sum) const {
    if (bias != nullptr) sum += fastconv::cuda::Element<T>::load(bias[part.first_filter + n]);
    output[at] = fastconv::cuda::Element<T>::store(sum);
  }
};

}  // namespace fastconv::cuda
