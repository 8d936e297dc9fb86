// Many callers at once, as a server has them: each algorithm from several std::threads, which share
// its operands and write results of their own, each with threads of its own beneath. Every one must
// get the bits that a lone caller gets; ThreadSanitizer (make tsan) sees what is shared besides.
#include <atomic>
#include <span>
#include <thread>
#include <vector>

#include "conv2d_cases.h"
#include "cpu/max_pool2d/algorithms.h"

using namespace fastconv;
using namespace fastconv::test;
using fastconv::cpu::Conv2dTensors;
using fastconv::cpu::MaxPool2dTensors;

namespace {

constexpr int kCallers = 6;

// call() on that many threads at once; how many of them it returned false to.
template <class F>
int failures_of_many(const F& call) {
  std::atomic<int> failures = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([&] { failures += call() ? 0 : 1; });
  }
  for (std::thread& caller : callers) caller.join();
  return failures;
}

template <class Member>
void check_direction(cpu::Conv2dList list, TensorBlock Operands::* written, Member place,
                     uint64_t seed) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    Random random(seed + static_cast<uint64_t>(dtype));
    for (int i = 0; i < 8; ++i) {
      const Case c = random_case(random, dtype);
      const Operands shared(c, random);
      for (const cpu::Conv2dAlgorithm* algorithm : list) {
        if (!reason_against(*algorithm, c.problem).empty()) continue;
        const auto result = [&](int count) {
          const TensorBlock mine = shared.*written;
          Conv2dTensors tensors = shared.tensors();
          tensors.*place = mine.data();
          run(*algorithm, c.problem, tensors, threads(count));
          return mine;
        };
        const TensorBlock alone = result(1);
        const int failures = failures_of_many([&] {
          return reason_against(*algorithm, c.problem).empty() &&
                 result(2).block() == alone.block();
        });
        check(failures == 0, describe(algorithm->name, c.problem, 2), ": ", failures, " of ",
              kCallers, " callers got other bits");
      }
    }
  }
}

Pool2dProblem pooling(DType dtype, int64_t channels, Layout layout, Random& random) {
  Pool2dProblem p{};
  p.dtype = dtype;
  p.N = 2;
  p.C = channels;
  p.H = 12;
  p.W = 35;
  p.kernel = {3, 2};
  p.stride = {2, 2};
  p.pad = {1, 1};
  p.dilation = {1, 1};
  p.P = 6;
  p.Q = 18;
  p.input = strides_of(layout, {p.N, p.C, p.H, p.W}, random);
  p.output = strides_of(layout, {p.N, p.C, p.P, p.Q}, random);
  return p;
}

void check_pooling(const Pool2dProblem& p, Random& random) {
  const int64_t bytes = size_of(p.dtype);
  const Sizes4 plane = {p.N, p.C, p.H, p.W}, pooled = {p.N, p.C, p.P, p.Q};
  const TensorBlock input(bytes, plane, p.input), gradient(bytes, pooled, p.output);
  fill(input, p.dtype, [&] { return random.between(-9, 9); });
  fill(gradient, p.dtype, [&] { return random.between(-4, 4); });
  const TensorBlock indices(sizeof(int64_t), pooled, p.output);
  for (const auto* algorithm : cpu::max_pool2d_forward_algorithms()) {
    if (!reason_against(*algorithm, p).empty()) continue;
    const auto forward = [&](const TensorBlock& at, int count) {
      const TensorBlock values(bytes, pooled, p.output);
      run(*algorithm, p,
          MaxPool2dTensors{input.data(), values.data(), static_cast<int64_t*>(at.data()), nullptr},
          threads(count));
      return values;
    };
    const TensorBlock alone = forward(indices, 1);
    const int failures = failures_of_many([&] {
      const TensorBlock mine(sizeof(int64_t), pooled, p.output);
      return forward(mine, 2).block() == alone.block() && mine.block() == indices.block();
    });
    check(failures == 0, algorithm->name, ": ", failures, " callers got other bits");
  }
  for (const auto* algorithm : cpu::max_pool2d_backward_algorithms()) {
    if (!reason_against(*algorithm, p).empty()) continue;
    const auto backward = [&](int count) {
      const TensorBlock result(bytes, plane, p.input);
      bool out_of_range = false;
      run(*algorithm, p,
          MaxPool2dTensors{result.data(), gradient.data(), static_cast<int64_t*>(indices.data()),
                           &out_of_range},
          threads(count));
      check(!out_of_range, algorithm->name);
      return result;
    };
    const TensorBlock alone = backward(1);
    const int failures = failures_of_many([&] { return backward(2).block() == alone.block(); });
    check(failures == 0, algorithm->name, ": ", failures, " callers got other bits");
  }
}

}  // namespace

FASTCONV_TEST(threads, fprop) {
  check_direction(cpu::conv2d_fprop_algorithms(), &Operands::output, &Conv2dTensors::output, 31);
}
FASTCONV_TEST(threads, dgrad) {
  check_direction(cpu::conv2d_dgrad_algorithms(), &Operands::input, &Conv2dTensors::input, 32);
}
FASTCONV_TEST(threads, wgrad) {
  check_direction(cpu::conv2d_wgrad_algorithms(), &Operands::weight, &Conv2dTensors::weight, 33);
}
FASTCONV_TEST(threads, max_pool2d) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    Random random(34 + static_cast<uint64_t>(dtype));
    for (Layout layout : {Layout::nchw, Layout::nhwc}) {
      check_pooling(pooling(dtype, 20, layout, random), random);
    }
  }
}
