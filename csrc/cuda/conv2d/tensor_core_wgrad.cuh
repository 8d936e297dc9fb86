// wgrad on tensor cores, for tensors whose channels lie side by side: a row is an output channel, a
// column an input channel and tap, the channels of a tap side by side, and depth runs over the
// output pixels of one split (wgrad_splits.h).
#pragma once

#include "cuda/conv2d/fast_divide.h"
#include "cuda/conv2d/shape.h"
#include "cuda/conv2d/tensor_core_gemm.cuh"

namespace fastconv::cuda {

template <class T>
struct TensorCoreWgrad {
  using Element = T;
  static constexpr bool kRowsByDepth = false, kColumnsByDepth = false;

  struct Part {
    int32_t rows, columns, group, split, begin, end;
  };

  ConvShape<int32_t> shape;
  FastDivide by_P, by_Q;
  CopySource<T> a, b;
  float* sums;  // [split][filter][tap][channel]
  int32_t splits, split_depth;

  TensorCoreWgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* sums, int64_t splits,
                  int64_t split_depth)
      : shape(p),
        by_P(shape.P),
        by_Q(shape.Q),
        a{static_cast<const T*>(t.output), 1, 1},
        b{static_cast<const T*>(t.input), shape.H, shape.W},
        sums(reinterpret_cast<float*>(sums)),
        splits(static_cast<int32_t>(splits)),
        split_depth(static_cast<int32_t>(split_depth)) {}

  __device__ Part part(int32_t index) const {
    const int32_t group = index / splits, split = index % splits;
    const int32_t depth = shape.batch * shape.P * shape.Q, begin = split * split_depth;
    return {shape.filters, shape.R * shape.S * shape.channels,
            group,         split,
            begin,         depth - begin < split_depth ? depth : begin + split_depth};
  }
  __device__ int32_t first_step(const Part& part) const { return part.begin; }
  __device__ int32_t steps(const Part& part) const {
    return (part.end - part.begin + kStepDepth<T> - 1) / kStepDepth<T>;
  }
  __device__ void advance(const Part&, int32_t& first_pixel) const { first_pixel += kStepDepth<T>; }

  __device__ Place<int32_t> row(const Part& part, int32_t filter) const {
    return {part.group * shape.filters + filter, 0, 0};
  }
  __device__ Place<int32_t> column(const Part& part, int32_t column) const {
    const Digits<int32_t> d = digits(column, shape.S, shape.channels);
    const int32_t h = d.slow * shape.dilation_h, w = d.middle * shape.dilation_w;
    return {h * shape.input.h + w * shape.input.w + part.group * shape.channels + d.fast, h, w};
  }
  __device__ Digits<int32_t> pixel_digits(int32_t pixel) const {
    const int32_t row = by_Q(pixel), image = by_P(row);
    return {image, row - image * shape.P, pixel - row * shape.Q};
  }
  __device__ Place<int32_t> row_depth(const Part& part, int32_t first_pixel, int32_t depth) const {
    const int32_t pixel = first_pixel + depth;
    if (pixel >= part.end) return nowhere();
    const Digits<int32_t> d = pixel_digits(pixel);
    return {d.slow * shape.output.n + d.middle * shape.output.h + d.fast * shape.output.w, 0, 0};
  }
  __device__ Place<int32_t> column_depth(const Part& part, int32_t first_pixel,
                                         int32_t depth) const {
    const int32_t pixel = first_pixel + depth;
    if (pixel >= part.end) return nowhere();
    const Digits<int32_t> d = pixel_digits(pixel);
    const int32_t h = d.middle * shape.stride_h - shape.pad_h;
    const int32_t w = d.fast * shape.stride_w - shape.pad_w;
    return {d.slow * shape.input.n + h * shape.input.h + w * shape.input.w, h, w};
  }

  __device__ float* row_out(const Part& part, int32_t filter) const {
    const int64_t row =
        (static_cast<int64_t>(part.split) * shape.groups + part.group) * shape.filters + filter;
    return sums + row * part.columns;
  }
  __device__ void store(const Part&, float* out, int32_t column, float first, float second,
                        bool pair) const {
    out[column] = first;
    if (pair) out[column + 1] = second;
  }
};

}  // namespace fastconv::cuda
