// dgrad as products of unit stride, one for each class of pixels (dgrad_classes.cuh).
//
// A row of the product is an input pixel of the class, a column an input channel, depth runs over
// the output channels of the group and the taps of the class. A class without taps is all zeros.
#pragma once

#include "cuda/conv2d/dgrad_classes.cuh"
#include "cuda/conv2d/implicit_gemm.cuh"
#include "cuda/conv2d/shape.h"

namespace fastconv::cuda {

template <class T, class IndexType>
struct Dgrad {
  using Element = T;
  using Index = IndexType;

  struct Part {
    Extent<Index> extent;
    AxisClass<Index> h, w;
    Index input, weight, output;  // offsets of the group
  };

  ConvShape<Index> shape;
  ClassAxis<Index> axis_h, axis_w;
  Operand<T, Index> a, b;
  T* grad_input;
  bool rows_fastest_out, channels_fastest;

  Dgrad(const Conv2dProblem& p, const Conv2dTensors& t)
      : shape(p),
        axis_h(p.H, p.stride.h, p.pad.h, p.dilation.h, p.R),
        axis_w(p.W, p.stride.w, p.pad.w, p.dilation.w, p.S),
        a{static_cast<const T*>(t.output), shape.P, shape.Q, p.output.c == 1},
        b{static_cast<const T*>(t.weight), 1, 1, false},
        grad_input(static_cast<T*>(t.input)),
        rows_fastest_out(p.input.c != 1),
        channels_fastest(p.output.c == 1) {}

  int64_t parts() const {
    return static_cast<int64_t>(axis_h.classes) * axis_w.classes * shape.groups;
  }
  // Of the first class, which no other exceeds.
  int64_t most_rows() const {
    return static_cast<int64_t>(shape.batch) * axis_h.most_rows() * axis_w.most_rows();
  }

  __device__ Part part(Index index) const {
    const Digits<Index> d = digits(index, axis_w.classes, shape.groups);
    Part part;
    part.h = axis_class(axis_h, d.slow);
    part.w = axis_class(axis_w, d.middle);
    const Index channel = d.fast * shape.channels, filter = d.fast * shape.filters;
    part.input = channel * shape.input.c;
    part.weight = filter * shape.weight.n;
    part.output = filter * shape.output.c;
    part.extent = {shape.batch * part.h.rows * part.w.rows, shape.channels, 0,
                   shape.filters * part.h.taps * part.w.taps};
    return part;
  }

  __device__ Place<Index> row(const Part& part, Index m) const {
    const Digits<Index> d = digits(m, part.h.rows, part.w.rows);
    const Index p = part.h.first_output + d.middle, q = part.w.first_output + d.fast;
    const Index pixel =
        wrapping_add(wrapping_multiply(p, shape.output.h), wrapping_multiply(q, shape.output.w));
    return {wrapping_add(part.output + d.slow * shape.output.n, pixel), p, q};
  }

  __device__ Place<Index> column(const Part& part, Index n) const {
    return {part.weight + n * shape.weight.c, 0, 0};
  }

  __device__ Place<Index> depth_a(const Part& part, Index k) const {
    const Tap<Index> tap = tap_of(k, shape.filters, part.h.taps, part.w.taps, channels_fastest);
    const Index p = -tap.r * axis_h.output_step, q = -tap.s * axis_w.output_step;
    const Index pixel =
        wrapping_add(wrapping_multiply(p, shape.output.h), wrapping_multiply(q, shape.output.w));
    return {wrapping_add(tap.channel * shape.output.c, pixel), p, q};
  }

  __device__ Place<Index> depth_b(const Part& part, Index k) const {
    const Tap<Index> tap = tap_of(k, shape.filters, part.h.taps, part.w.taps, channels_fastest);
    const Index r = part.h.first_tap + tap.r * axis_h.tap_step;
    const Index s = part.w.first_tap + tap.s * axis_w.tap_step;
    return {tap.channel * shape.weight.n + r * shape.weight.h + s * shape.weight.w, 0, 0};
  }

  __device__ Index row_out(const Part& part, Index m) const {
    const Digits<Index> d = digits(m, part.h.rows, part.w.rows);
    const Index h = part.h.first + d.middle * axis_h.stride;
    const Index w = part.w.first + d.fast * axis_w.stride;
    return part.input + d.slow * shape.input.n + h * shape.input.h + w * shape.input.w;
  }

  __device__ Index column_out(const Part&, Index n) const { return n * shape.input.c; }

  __device__ void store(const Part&, Index at, Index,
                        typename fastconv::cuda::Element<T>::Accumulator sum) const {
    grad_input[at] = fastconv::cuda::Element<T>::store(sum);
  }
};

}  // namespace fastconv::cuda
