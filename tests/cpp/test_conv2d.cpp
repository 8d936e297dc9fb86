// Every convolution algorithm that this process may run against the reference, on integer data:
// all sums are exact in float, so that any difference is an error.
#include <cmath>
#include <string>

#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/entries.h"
#include "tensors.h"

using namespace fastconv;
using namespace fastconv::test;
using fastconv::cpu::Conv2dAlgorithm;
using fastconv::cpu::Conv2dTensors;

namespace {

// The backward directions get a bias too and must leave it alone.
struct Case {
  Conv2dProblem problem;
  bool bias;
};

int64_t out_extent(int64_t extent, int64_t taps, int64_t stride, int64_t pad, int64_t pad_after,
                   int64_t dilation) {
  const int64_t slack = extent + pad + pad_after - (taps - 1) * dilation - 1;
  return slack < 0 ? 0 : slack / stride + 1;
}

// One in five is large enough to cross the blocking of the GEMM, one in twelve has an empty batch.
Case random_case(Random& random, DType dtype) {
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
    p.R = random.between(1, 4);
    p.S = random.between(1, 4);
    p.stride = {random.between(1, 3), random.between(1, 3)};
    p.dilation = {random.between(1, 2), random.between(1, 2)};
    if (random.one_in(4)) {  // Winograd's
      p.groups = 1;
      p.R = p.S = 3;
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

std::string describe(const char* algorithm, const Conv2dProblem& p, int threads) {
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

  Conv2dTensors tensors() const {
    return {input.data(), weight.data(), output.data(), with_bias_ ? bias.data() : nullptr};
  }

  static Sizes4 input_sizes(const Conv2dProblem& p) { return {p.N, p.C, p.H, p.W}; }
  static Sizes4 weight_sizes(const Conv2dProblem& p) { return {p.K, p.C / p.groups, p.R, p.S}; }
  static Sizes4 output_sizes(const Conv2dProblem& p) { return {p.N, p.K, p.P, p.Q}; }

 private:
  bool with_bias_;
};

// Winograd F(4x4) is not exact on integers, but tells each from the next: rounded to the integer
// that it is within a thousandth of.
void round_where_inexact(const Conv2dAlgorithm& algorithm, const TensorBlock& tensor) {
  if (algorithm.error < 1e-6) return;
  tensor.for_each<float>([](float& value) {
    const float integer = std::nearbyint(value);
    if (std::abs(value - integer) < 1e-3F) value = integer == 0 ? 0 : integer;
  });
}

// run() with the weight packed beforehand, in exactly the bytes that the algorithm asks for.
void run_packed(const Conv2dAlgorithm& algorithm, Conv2dProblem problem, Conv2dTensors tensors,
                const cpu::Parallel& parallel) {
  problem.weight_is_packed = true;
  const Block packed(algorithm.packed_weight_bytes(problem), 0xff, true);
  algorithm.pack_weight(problem, tensors, packed.data(), parallel);
  tensors.packed_weight = packed.data();
  run(algorithm, problem, tensors, parallel);
}

// Runs every algorithm of the list and compares the tensor that the direction writes, and the bytes
// between its strides.
void check_list(cpu::Conv2dList list, const Conv2dAlgorithm& reference,
                TensorBlock Operands::* written, uint64_t seed) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    Random random(seed + static_cast<uint64_t>(dtype));
    for (int i = 0; i < 60; ++i) {
      const Case c = random_case(random, dtype);
      const Operands operands(c, random);
      const Operands expected = operands;
      run(reference, c.problem, expected.tensors(), threads(1));
      for (const Conv2dAlgorithm* algorithm : list) {
        if (!reason_against(*algorithm, c.problem).empty()) continue;
        for (int count : {1, 3}) {
          const Operands actual = operands;
          run(*algorithm, c.problem, actual.tensors(), threads(count));
          const bool packs = algorithm->packed_weight_bytes != nullptr &&
                             algorithm->packed_weight_bytes(c.problem) != 0;
          if (packs) {
            const Operands again = operands;
            run_packed(*algorithm, c.problem, again.tensors(), threads(count));
            check((actual.*written).block() == (again.*written).block(),
                  "packed weights: ", describe(algorithm->name, c.problem, count));
          }
          round_where_inexact(*algorithm, actual.*written);
          check_equal((actual.*written), (expected.*written), dtype,
                      describe(algorithm->name, c.problem, count));
        }
      }
    }
  }
}

}  // namespace

FASTCONV_TEST(conv2d, fprop) {
  check_list(cpu::conv2d_fprop_algorithms(), cpu::conv2d_fprop_reference, &Operands::output, 1);
}
FASTCONV_TEST(conv2d, dgrad) {
  check_list(cpu::conv2d_dgrad_algorithms(), cpu::conv2d_dgrad_reference, &Operands::input, 2);
}
FASTCONV_TEST(conv2d, wgrad) {
  check_list(cpu::conv2d_wgrad_algorithms(), cpu::conv2d_wgrad_reference, &Operands::weight, 3);
}

// The reference itself, on a problem small enough to do by hand.
FASTCONV_TEST(conv2d, reference_by_hand) {
  Conv2dProblem p{};
  p.dtype = DType::f32;
  p.N = p.C = p.K = p.groups = 1;
  p.H = 2;
  p.W = 3;
  p.R = 1;
  p.S = 2;
  p.P = 2;
  p.Q = 3;
  p.stride = p.dilation = {1, 1};
  p.pad = {0, 1};
  p.input = {6, 6, 3, 1};
  p.weight = {2, 2, 2, 1};
  p.output = {6, 6, 3, 1};
  float input[] = {1, 2, 3, 4, 5, 6};
  float weight[] = {10, 1};
  float bias[] = {100};
  float output[6];
  run(cpu::conv2d_fprop_reference, p, Conv2dTensors{input, weight, output, bias}, threads(1));
  check(std::ranges::equal(output, std::array<float, 6>{101, 112, 123, 104, 145, 156}), "fprop");

  float grad_output[] = {1, 0, 0, 0, 0, 2};
  float grad_input[6], grad_weight[2];
  run(cpu::conv2d_dgrad_reference, p, Conv2dTensors{grad_input, weight, grad_output, nullptr},
      threads(1));
  check(std::ranges::equal(grad_input, std::array<float, 6>{1, 0, 0, 0, 20, 2}), "dgrad");
  run(cpu::conv2d_wgrad_reference, p, Conv2dTensors{input, grad_weight, grad_output, nullptr},
      threads(1));
  check(std::ranges::equal(grad_weight, std::array<float, 2>{10, 13}), "wgrad");
}

FASTCONV_TEST(conv2d, bias_gradient) {
  Random random(4);
  for (int i = 0; i < 20; ++i) {
    Case c = random_case(random, DType::f32);
    const Operands operands(c, random);
    std::vector<float> expected(static_cast<size_t>(c.problem.K), 0.0f);
    int64_t element = 0;
    operands.output.for_each<float>([&](float value) {
      expected[static_cast<size_t>(element++ / (c.problem.P * c.problem.Q) % c.problem.K)] += value;
    });
    const Block actual(c.problem.K * 4, 0xff);
    conv2d_bias_gradient(c.problem, operands.output.data(), actual.data(), threads(2));
    check(std::equal(expected.begin(), expected.end(), reinterpret_cast<float*>(actual.data())),
          describe("conv2d_bias_gradient", c.problem, 2));
  }
}
