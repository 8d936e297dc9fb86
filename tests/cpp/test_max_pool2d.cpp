// Every pooling algorithm that this process may run against the reference: values, indices and
// gradients must be the same, with NaNs, infinities and ties among the cells.
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "cpu/max_pool2d/algorithms.h"
#include "cpu/max_pool2d/entries.h"
#include "tensors.h"

using namespace fastconv;
using namespace fastconv::test;
using fastconv::cpu::MaxPool2dAlgorithm;
using fastconv::cpu::MaxPool2dTensors;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// As the validator does it; now and then a column more, wholly in the padding, which it makes too
// where a dilation exceeds the plane.
int64_t out_extent(Random& random, int64_t extent, int64_t taps, int64_t stride, int64_t pad,
                   int64_t dilation) {
  const int64_t slack = extent + 2 * pad - (taps - 1) * dilation - 1;
  if (slack < 0) return 0;
  const int64_t count = (slack + (random.one_in(3) ? stride - 1 : 0)) / stride + 1;
  return (count - 1) * stride >= extent + pad ? count - 1 : count;
}

Pool2dProblem random_problem(Random& random, DType dtype) {
  for (;;) {
    Pool2dProblem p{};
    p.dtype = dtype;
    p.N = random.one_in(12) ? 0 : random.between(1, 3);
    p.C = random.pick<int64_t>({1, 3, 16, 20, 67, 130});
    p.H = random.between(1, 14);
    p.W = random.one_in(3) ? random.between(1, 100) : random.between(1, 20);
    if (random.one_in(2)) {  // the usual windows
      const int64_t size = random.pick<int64_t>({2, 3, 3, 5});
      const int64_t step = random.pick<int64_t>({1, 2, 2, 3});
      p.kernel = {size, size};
      p.stride = {step, step};
      p.dilation = {1, 1};
    } else {
      p.kernel = {random.between(1, 7), random.between(1, 7)};
      p.stride = {random.between(1, 5), random.between(1, 5)};
      p.dilation = {random.between(1, 3), random.between(1, 3)};
    }
    p.pad = {random.between(0, p.kernel.h / 2), random.between(0, p.kernel.w / 2)};
    p.P = out_extent(random, p.H, p.kernel.h, p.stride.h, p.pad.h, p.dilation.h);
    p.Q = out_extent(random, p.W, p.kernel.w, p.stride.w, p.pad.w, p.dilation.w);
    if (p.P == 0 || p.Q == 0) continue;
    const Layout layout = random.pick({Layout::nchw, Layout::nhwc, Layout::odd});
    const Layout other = random.one_in(4) ? Layout::odd : layout;
    p.input = strides_of(other, {p.N, p.C, p.H, p.W}, random);
    p.output = strides_of(layout, {p.N, p.C, p.P, p.Q}, random);
    return p;
  }
}

// Few different values, so that windows are full of ties.
double random_cell(Random& random, int64_t strangeness) {
  if (strangeness > 0 && random.one_in(strangeness)) {
    return random.pick({kNaN, kInfinity, -kInfinity, -kInfinity, -0.0});
  }
  return static_cast<double>(random.between(-2, 2));
}

std::string describe(const char* algorithm, const Pool2dProblem& p, int threads) {
  std::ostringstream out;
  out << algorithm << ", " << name_of(p.dtype) << ", input " << p.N << "x" << p.C << "x" << p.H
      << "x" << p.W << ", strides " << p.input << ", output " << p.P << "x" << p.Q << ", strides "
      << p.output << ", kernel " << p.kernel.h << "," << p.kernel.w << ", stride " << p.stride.h
      << "," << p.stride.w << ", pad " << p.pad.h << "," << p.pad.w << ", dilation " << p.dilation.h
      << "," << p.dilation.w << ", " << threads << " threads";
  return out.str();
}

struct Operands {
  TensorBlock input, output, indices;

  explicit Operands(const Pool2dProblem& p)
      : input(size_of(p.dtype), {p.N, p.C, p.H, p.W}, p.input),
        output(size_of(p.dtype), {p.N, p.C, p.P, p.Q}, p.output),
        indices(sizeof(int64_t), {p.N, p.C, p.P, p.Q}, p.output) {}

  MaxPool2dTensors tensors(bool with_indices, bool* index_out_of_range = nullptr) const {
    return {input.data(), output.data(),
            with_indices ? static_cast<int64_t*>(indices.data()) : nullptr, index_out_of_range};
  }
};

void check_forward(const MaxPool2dAlgorithm& algorithm, const Pool2dProblem& p,
                   const Operands& operands, const Operands& expected) {
  for (int count : {1, 3}) {
    const std::string what = describe(algorithm.name, p, count);
    const Operands with = operands, without = operands;
    run(algorithm, p, with.tensors(true), threads(count));
    check_equal(with.output, expected.output, p.dtype, what);
    check(with.indices.block() == expected.indices.block(), what, ": other indices");
    run(algorithm, p, without.tensors(false), threads(count));
    check_equal(without.output, expected.output, p.dtype, what + ", no indices");
    check(without.indices.block() == operands.indices.block(), what, ": wrote unasked indices");
  }
}

void check_backward(const MaxPool2dAlgorithm& algorithm, const Pool2dProblem& p,
                    const Operands& operands, const Operands& expected, bool out_of_range) {
  for (int count : {1, 3}) {
    const std::string what = describe(algorithm.name, p, count);
    const Operands actual = operands;
    bool reported = false;
    run(algorithm, p, actual.tensors(true, &reported), threads(count));
    check_equal(actual.input, expected.input, p.dtype, what);
    check(reported == out_of_range, what, ": index_out_of_range is ", reported);
  }
}

// Breaks one index in four problems, in as many ways as there are to be wrong.
bool maybe_break_an_index(Random& random, const Pool2dProblem& p, const Operands& operands) {
  const int64_t count = p.N * p.C * p.P * p.Q;
  if (count == 0 || !random.one_in(4)) return false;
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  int64_t left = random.between(0, count - 1);
  const int64_t wrong = random.pick({int64_t{-1}, p.H * p.W, kMost, -kMost - 1});
  operands.indices.for_each<int64_t>([&](int64_t& index) {
    if (left-- == 0) index = wrong;
  });
  return true;
}

Pool2dProblem one_plane(int64_t h, int64_t w, int64_t kernel, int64_t stride, int64_t p,
                        int64_t q) {
  Pool2dProblem problem{};
  problem.N = problem.C = 1;
  problem.H = h;
  problem.W = w;
  problem.P = p;
  problem.Q = q;
  problem.kernel = {kernel, kernel};
  problem.stride = {stride, stride};
  problem.dilation = {1, 1};
  problem.input = {h * w, h * w, w, 1};
  problem.output = {p * q, p * q, q, 1};
  return problem;
}

// The float32 input pooled by every forward algorithm that takes it.
void check_indices(const Pool2dProblem& p, std::vector<float> input,
                   const std::vector<int64_t>& expected, const char* what) {
  for (const MaxPool2dAlgorithm* algorithm : cpu::max_pool2d_forward_algorithms()) {
    if (!reason_against(*algorithm, p).empty()) continue;
    std::vector<float> values(expected.size());
    std::vector<int64_t> indices(expected.size());
    run(*algorithm, p, MaxPool2dTensors{input.data(), values.data(), indices.data(), nullptr},
        threads(1));
    for (size_t i = 0; i < expected.size(); ++i) {
      check(indices[i] == expected[i], algorithm->name, ", ", what, ": index ", indices[i],
            " where ", expected[i], " is right");
    }
  }
}

}  // namespace

FASTCONV_TEST(max_pool2d, forward) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    Random random(10 + static_cast<uint64_t>(dtype));
    for (int i = 0; i < 150; ++i) {
      const Pool2dProblem p = random_problem(random, dtype);
      const Operands operands(p);
      const int64_t strangeness = random.pick<int64_t>({0, 20, 3, 1});
      fill(operands.input, dtype, [&] { return random_cell(random, strangeness); });
      const Operands expected = operands;
      run(cpu::max_pool2d_forward_reference, p, expected.tensors(true), threads(1));
      for (const MaxPool2dAlgorithm* algorithm : cpu::max_pool2d_forward_algorithms()) {
        if (reason_against(*algorithm, p).empty()) check_forward(*algorithm, p, operands, expected);
      }
    }
  }
}

FASTCONV_TEST(max_pool2d, backward) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    Random random(20 + static_cast<uint64_t>(dtype));
    for (int i = 0; i < 150; ++i) {
      const Pool2dProblem p = random_problem(random, dtype);
      const Operands operands(p);
      fill(operands.input, dtype, [&] { return random.between(-9, 9); });
      run(cpu::max_pool2d_forward_reference, p, operands.tensors(true), threads(1));
      fill(operands.output, dtype, [&] { return random.between(-4, 4); });
      const bool broken = maybe_break_an_index(random, p, operands);
      const Operands expected = operands;
      bool reported = false;
      run(cpu::max_pool2d_backward_reference, p, expected.tensors(true, &reported), threads(1));
      check(reported == broken, describe("max_pool2d_backward_reference", p, 1));
      for (const MaxPool2dAlgorithm* algorithm : cpu::max_pool2d_backward_algorithms()) {
        if (!reason_against(*algorithm, p).empty()) continue;
        check_backward(*algorithm, p, operands, expected, broken);
      }
    }
  }
}

// An index that names a cell of another window is not of this pooling. The scatter adds there, what
// relies on the window reports it; nobody may count it among another window's.
FASTCONV_TEST(max_pool2d, index_of_another_window) {
  constexpr int64_t kSide = 70, kOutputs = kSide / 2;
  Pool2dProblem p = one_plane(kSide, kSide, 2, 2, kOutputs, kOutputs);
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < kOutputs * kOutputs; ++i) {
    indices.push_back(i / kOutputs * 2 * kSide + i % kOutputs * 2);
  }
  indices[kOutputs + 1] = indices[kOutputs + 20] + kSide + 1;
  std::vector<float> gradient(indices.size(), 1);
  for (bool channels_last : {false, true}) {
    if (channels_last) {  // of two channels, or it would be contiguous too
      p.C = 2;
      p.input = {2 * kSide * kSide, 1, 2 * kSide, 2};
      p.output = {2 * kOutputs * kOutputs, 1, 2 * kOutputs, 2};
      std::vector<int64_t> both;
      for (int64_t index : indices) both.insert(both.end(), {index, index});
      indices = both;
      gradient.resize(indices.size(), 1);
    }
    for (const MaxPool2dAlgorithm* algorithm : cpu::max_pool2d_backward_algorithms()) {
      if (!reason_against(*algorithm, p).empty()) continue;
      std::vector<float> result(static_cast<size_t>(p.C * kSide * kSide), -9);
      bool reported = false;
      run(*algorithm, p,
          MaxPool2dTensors{result.data(), gradient.data(), indices.data(), &reported}, threads(1));
      float sum = 0;
      for (float x : result) {
        check(x >= 0, algorithm->name, ": left a cell unwritten");
        sum += x;
      }
      const auto all = static_cast<float>(gradient.size());
      check(sum == all || (reported && sum == all - static_cast<float>(p.C)), algorithm->name,
            ": the gradients sum to ", sum, " instead of ", all);
    }
  }
}

// torch's rules, by hand, for the reference and all others.
FASTCONV_TEST(max_pool2d, chooses_as_torch_does) {
  const auto nan = static_cast<float>(kNaN);
  const auto infinity = static_cast<float>(kInfinity);
  const Pool2dProblem p = one_plane(3, 3, 3, 1, 1, 1);
  check_indices(p, {1, 5, 3, 5, 2, 0, 5, 1, 1}, {1}, "a tie keeps the first");
  check_indices(p, {1, nan, 9, nan, 2, 0, 5, nan, 9}, {7}, "the last NaN wins");
  check_indices(p, {1, 2, 3, infinity, 2, nan, 5, 1, infinity}, {5}, "a NaN beats infinity");
  check_indices(p, std::vector<float>(9, -infinity), {0}, "nothing but -inf: the first cell");
  check_indices(p, {-1, -0.0f, 0, 0, -1, -1, -1, -1, -1}, {1}, "-0 equals 0");
  Pool2dProblem padded = one_plane(3, 3, 3, 2, 2, 2);
  padded.pad = {1, 1};
  check_indices(padded, std::vector<float>(9, -infinity), {0, 1, 3, 4},
                "the first cell that is not padding");
}

// A dilation beyond the plane makes windows that lie wholly in the padding. torch 2.13 gives them
// an index outside the plane.
FASTCONV_TEST(max_pool2d, window_in_the_padding) {
  Pool2dProblem p = one_plane(1, 1, 2, 2, 1, 1);
  p.pad = {1, 1};
  p.dilation = {2, 2};
  check_indices(p, {7}, {0}, "a window around the plane");
}

// Parameters that no memory could follow if they were taken at their word.
FASTCONV_TEST(max_pool2d, extreme_parameters) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  Pool2dProblem p = one_plane(4, 4, 1, 1, 4, 4);
  p.dilation = {kMost, kMost};
  check_indices(p, std::vector<float>(16, 1),
                {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
                "one cell and the largest dilation");
  p = one_plane(4, 4, 3, kMost, 1, 1);
  p.pad = {1, 1};
  check_indices(p, std::vector<float>(16, 1), {0}, "the largest stride");
  p = one_plane(4, 4, kMost / 8, 1, 2, 2);
  p.pad = {kMost / 16, kMost / 16};
  check_indices(p, {0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {5, 5, 5, 5},
                "a kernel far larger than the plane");
}
