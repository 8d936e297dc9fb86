// dgrad on tensor cores, for tensors whose channels lie side by side: the products of unit stride
// of dgrad.cuh. A row is an input pixel of a class, a column an input channel, and a step of depth
// some output channels of one tap of the class, the last of a tap filled up with zeros.
#pragma once

#include "cuda/conv2d/dgrad_classes.cuh"
#include "cuda/conv2d/shape.h"
#include "cuda/conv2d/tensor_core_gemm.cuh"

namespace fastconv::cuda {

template <class T>
struct TensorCoreDgrad {
  using Element = T;
  // The weight's neighbours in memory are input channels: neighbouring columns.
  static constexpr bool kRowsByDepth = true, kColumnsByDepth = false;

  struct Part {
    int32_t rows, columns;
    AxisClass<int32_t> h, w;
    int32_t group;
  };

  ConvShape<int32_t> shape;
  ClassAxis<int32_t> axis_h, axis_w;
  CopySource<T> a, b;
  T* grad_input;
  // Of a group, without what fills up the last piece.
  int32_t own_channels, own_filters;

  // `read` is p with its channels filled up.
  TensorCoreDgrad(const Conv2dProblem& p, const Conv2dProblem& read, const Conv2dTensors& t)
      : shape(read),
        axis_h(p.H, p.stride.h, p.pad.h, p.dilation.h, p.R),
        axis_w(p.W, p.stride.w, p.pad.w, p.dilation.w, p.S),
        a{static_cast<const T*>(t.output), shape.P, shape.Q},
        b{static_cast<const T*>(t.weight), 1, 1},
        grad_input(static_cast<T*>(t.input)),
        own_channels(static_cast<int32_t>(p.group_in_channels())),
        own_filters(static_cast<int32_t>(p.group_out_channels())) {}

  int64_t parts() const {
    return static_cast<int64_t>(axis_h.classes) * axis_w.classes * shape.groups;
  }
  // Of the first class, which no other exceeds.
  int64_t most_rows() const {
    return static_cast<int64_t>(shape.batch) * axis_h.most_rows() * axis_w.most_rows();
  }

  __device__ Part part(int32_t index) const {
    const Digits<int32_t> d = digits(index, axis_w.classes, shape.groups);
    Part part;
    part.h = axis_class(axis_h, d.slow);
    part.w = axis_class(axis_w, d.middle);
    part.group = d.fast;
    part.rows = shape.batch * part.h.rows * part.w.rows;
    part.columns = own_channels;
    return part;
  }
  __device__ TapCursor first_step(const Part&) const { return {}; }
  __device__ int32_t steps(const Part& part) const {
    return part.h.taps * part.w.taps * ((shape.filters + kStepDepth<T> - 1) / kStepDepth<T>);
  }
  __device__ void advance(const Part& part, TapCursor& at) const {
    at.advance_filled_up(kStepDepth<T>, shape.filters, part.w.taps);
  }

  __device__ Place<int32_t> row(const Part& part, int32_t pixel) const {
    const Digits<int32_t> d = digits(pixel, part.h.rows, part.w.rows);
    const int32_t p = part.h.first_output + d.middle, q = part.w.first_output + d.fast;
    return {d.slow * shape.output.n + p * shape.output.h + q * shape.output.w +
                part.group * shape.filters,
            p, q};
  }
  __device__ Place<int32_t> column(const Part& part, int32_t channel) const {
    return {part.group * own_filters * shape.weight.n + part.h.first_tap * shape.weight.h +
                part.w.first_tap * shape.weight.w + channel,
            0, 0};
  }
  __device__ Place<int32_t> row_depth(const Part&, const TapCursor& at, int32_t depth) const {
    const int32_t filter = at.channel + depth;
    if (filter >= shape.filters) return nowhere();
    const int32_t p = -at.r * axis_h.output_step, q = -at.s * axis_w.output_step;
    return {p * shape.output.h + q * shape.output.w + filter, p, q};
  }
  __device__ Place<int32_t> column_depth(const Part&, const TapCursor& at, int32_t depth) const {
    const int32_t filter = at.channel + depth;
    if (filter >= own_filters) return nowhere();
    const int32_t r = at.r * axis_h.tap_step, s = at.s * axis_w.tap_step;
    return {filter * shape.weight.n + r * shape.weight.h + s * shape.weight.w, 0, 0};
  }

  __device__ T* row_out(const Part& part, int32_t pixel) const {
    const Digits<int32_t> d = digits(pixel, part.h.rows, part.w.rows);
    const int32_t h = part.h.first + d.middle * axis_h.stride;
    const int32_t w = part.w.first + d.fast * axis_w.stride;
    return grad_input + (d.slow * shape.input.n + h * shape.input.h + w * shape.input.w +
                         part.group * own_channels * shape.input.c);
  }
  __device__ void store(const Part&, T* out, int32_t channel, float first, float second,
                        bool pair) const {
    store_pair(out + channel * shape.input.c, shape.input.c, first, second, pair);
  }
};

}  // namespace fastconv::cuda
