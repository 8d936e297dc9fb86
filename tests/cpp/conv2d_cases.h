// Random convolutions and tensors for them, of integers, whose sums are exact in float.
#pragma once

#include <string>

#include "cpu/conv2d/algorithms.h"
#include "tensors.h"

namespace fastconv::test {

// The backward directions get a bias too and must leave it alone.
struct Case {
  Conv2dProblem problem;
  bool bias;
};

inline int64_t out_extent(int64_t extent, int64_t taps, int64_t stride, int64_t pad,
                          int64_t pad_after, int64_t dilation) {
  const int64_t slack = extent + pad + pad_after - (taps - 1) * dilation - 1;
  return slack < 0 ? 0 : slack / stride + 1;
}

// One in five is large enough to cross the blocking of the GEMM, one in twelve has an empty batch.
inline Case random_case(Random& random, DType dtype) {
  for (;;) {
    Conv2dProblem p{};
    p.dtype = dtype;
    const bool large = random.one_in(5);
    p.groups = random.pick<int64_t>({1, 1, 1, 2, 3});
    const int64_t most_channels = large ? 80 : 12;
    p.N = random.one_in(12) ? 0 : random.between(1, 3);
    p.C = p.groups * random.between(1, most_channels / p.groups);
    p.K = p.groups * random.between(1, most_channels / p.groups);
    if (random.one_in(6)) {  // depthwise
      p.groups = p.C;
      p.K = p.C * random.between(1, 2);
    }
    p.H = random.between(1, large ? 20 : 10);
    p.W = random.between(1, large ? 40 : 12);
    p.R = random.between(1, 5);
    p.S = random.between(1, 5);
    p.stride = {random.between(1, 3), random.between(1, 3)};
    p.dilation = {random.between(1, 2), random.between(1, 2)};
    if (random.one_in(4)) {  // Winograd's
      p.groups = random.pick<int64_t>({1, 1, 2});
      if (p.groups > 1) {
        p.C = p.groups * random.between(16, 40);
        p.K = p.groups * random.between(16, 40);
      }
      p.R = p.S = random.pick<int64_t>({3, 3, 5});
      p.stride = p.dilation = {1, 1};
    }
    p.pad = {random.between(0, 3), random.between(0, 3)};
    p.P = out_extent(p.H, p.R, p.stride.h, p.pad.h, random.between(0, 3), p.dilation.h);
    p.Q = out_extent(p.W, p.S, p.stride.w, p.pad.w, random.between(0, 3), p.dilation.w);
    if (p.P == 0 || p.Q == 0) continue;
    const auto layout = [&] { return random.pick({Layout::nchw, Layout::nhwc, Layout::odd}); };
    p.input = strides_of(layout(), {p.N, p.C, p.H, p.W}, random);
    p.weight = strides_of(layout(), {p.K, p.C / p.groups, p.R, p.S}, random);
    p.output = strides_of(layout(), {p.N, p.K, p.P, p.Q}, random);
    return {p, random.one_in(2)};
  }
}

inline std::string describe(const char* algorithm, const Conv2dProblem& p, int threads) {
  std::ostringstream out;
  out << algorithm << ", " << name_of(p.dtype) << ", input " << p.N << "x" << p.C << "x" << p.H
      << "x" << p.W << ", weight " << p.K << "x" << p.C / p.groups << "x" << p.R << "x" << p.S
      << ", output " << p.P << "x" << p.Q << ", stride " << p.stride.h << "," << p.stride.w
      << ", pad " << p.pad.h << "," << p.pad.w << ", dilation " << p.dilation.h << ","
      << p.dilation.w << ", groups " << p.groups << ", strides of input " << p.input << ", weight "
      << p.weight << ", output " << p.output << ", " << threads << " threads";
  return out.str();
}

struct Operands {
  TensorBlock input, weight, output, bias;

  Operands(const Case& c, Random& random)
      : input(size_of(c.problem.dtype), input_sizes(c.problem), c.problem.input),
        weight(size_of(c.problem.dtype), weight_sizes(c.problem), c.problem.weight),
        output(size_of(c.problem.dtype), output_sizes(c.problem), c.problem.output),
        bias(size_of(c.problem.dtype), {1, 1, 1, c.problem.K}, {0, 0, 0, 1}),
        with_bias_(c.bias) {
    for (const TensorBlock* tensor : {&input, &weight, &output, &bias}) {
      fill(*tensor, c.problem.dtype, [&] { return random.between(-2, 2); });
    }
  }

  cpu::Conv2dTensors tensors() const {
    return {input.data(), weight.data(), output.data(), with_bias_ ? bias.data() : nullptr};
  }

  static Sizes4 input_sizes(const Conv2dProblem& p) { return {p.N, p.C, p.H, p.W}; }
  static Sizes4 weight_sizes(const Conv2dProblem& p) { return {p.K, p.C / p.groups, p.R, p.S}; }
  static Sizes4 output_sizes(const Conv2dProblem& p) { return {p.N, p.K, p.P, p.Q}; }

 private:
  bool with_bias_;
};

}  // namespace fastconv::test
