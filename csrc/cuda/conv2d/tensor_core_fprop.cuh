// fprop on tensor cores, for tensors whose channels lie side by side: a row is an output pixel, a
// column an output channel, and depth runs over the channels of one tap after the other. Each
// thread follows the tap and channel of the piece that it copies of every step.
#pragma once

#include "cuda/conv2d/shape.h"
#include "cuda/conv2d/tensor_core_gemm.cuh"

namespace fastconv::cuda {

template <class T>
struct TensorCoreFprop {
  using Element = T;
  static constexpr bool kRowsByDepth = true, kColumnsByDepth = true;

  struct Part {
    int32_t rows, columns, group;
  };

  ConvShape<int32_t> shape;
  CopySource<T> a, b;
  const T* bias;  // or null
  T* output;

  TensorCoreFprop(const Conv2dProblem& p, const Conv2dTensors& t)
      : shape(p),
        a{static_cast<const T*>(t.input), shape.H, shape.W},
        b{static_cast<const T*>(t.weight), 1, 1},
        bias(static_cast<const T*>(t.bias)),
        output(static_cast<T*>(t.output)) {}

  __device__ Part part(int32_t group) const {
    return {shape.batch * shape.P * shape.Q, shape.filters, group};
  }
  __device__ TapCursor first_step(const Part&) const {
    TapCursor own;
    own.advance(OperandStage<T, true>::slot(0).depth, shape.channels, shape.S);
    return own;
  }
  __device__ int32_t steps(const Part&) const {
    return (shape.R * shape.S * shape.channels + kStepDepth<T> - 1) / kStepDepth<T>;
  }
  __device__ void advance(const Part&, TapCursor& own) const {
    own.advance(kStepDepth<T>, shape.channels, shape.S);
  }

  __device__ Place<int32_t> row(const Part& part, int32_t pixel) const {
    const Digits<int32_t> d = digits(pixel, shape.P, shape.Q);
    const int32_t h = d.middle * shape.stride_h - shape.pad_h;
    const int32_t w = d.fast * shape.stride_w - shape.pad_w;
    return {d.slow * shape.input.n + h * shape.input.h + w * shape.input.w +
                part.group * shape.channels,
            h, w};
  }
  __device__ Place<int32_t> column(const Part& part, int32_t filter) const {
    return {(part.group * shape.filters + filter) * shape.weight.n, 0, 0};
  }
  __device__ Place<int32_t> row_depth(const Part&, const TapCursor& own, int32_t) const {
    if (own.r >= shape.R) return nowhere();
    const int32_t h = own.r * shape.dilation_h, w = own.s * shape.dilation_w;
    return {h * shape.input.h + w * shape.input.w + own.channel, h, w};
  }
  __device__ Place<int32_t> column_depth(const Part&, const TapCursor& own, int32_t) const {
    if (own.r >= shape.R) return nowhere();
    return {own.r * shape.weight.h + own.s * shape.weight.w + own.channel, 0, 0};
  }

  __device__ T* row_out(const Part& part, int32_t pixel) const {
    const Digits<int32_t> d = digits(pixel, shape.P, shape.Q);
    return output + (d.slow * shape.output.n + d.middle * shape.output.h + d.fast * shape.output.w +
                     part.group * shape.filters * shape.output.c);
  }
  __device__ void store(const Part& part, T* out, int32_t filter, float first, float second,
                        bool pair) const {
    if (bias != nullptr) {
      const T* own = bias + part.group * shape.filters + filter;
      first += fastconv::cuda::Element<T>::load(own[0]);
      if (pair) second += fastconv::cuda::Element<T>::load(own[1]);
    }
    store_pair(out + filter * shape.output.c, shape.output.c, first, second, pair);
  }
};

}  // namespace fastconv::cuda
