// The AMX convolutions, on emulated tiles, where the CPU has AVX-512 to pack with, and those of
// AVX512_BF16 where it has that.
#if defined(__x86_64__)
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "conv2d_cases.h"
#include "cpu/conv2d/entries.h"
#include "emulated_amx.h"

using namespace fastconv;
using namespace fastconv::test;
using fastconv::cpu::Conv2dAlgorithm;

namespace {

// The emulation itself is compiled for AVX-512.
bool can_emulate() { return cpu::usable_isa() >= cpu::Isa::avx512; }

struct Direction {
  cpu::Conv2dList list;
  const Conv2dAlgorithm& reference;
  TensorBlock Operands::* written;
};

std::vector<Direction> emulated_directions() {
  if (!can_emulate()) return {};
  return {{emulated_amx_fprop(), cpu::conv2d_fprop_reference, &Operands::output},
          {emulated_amx_dgrad(), cpu::conv2d_dgrad_reference, &Operands::input},
          {emulated_amx_wgrad(), cpu::conv2d_wgrad_reference, &Operands::weight}};
}

using Algorithms = std::vector<const Conv2dAlgorithm*>;

// And those that form the same products by vectors, which are not emulated.
Algorithms with_vectors(cpu::Conv2dList emulated, const Algorithms& by_vectors) {
  Algorithms all(emulated.begin(), emulated.end());
  if (cpu::usable_isa() >= cpu::Isa::avx512_bf16) {
    all.insert(all.end(), by_vectors.begin(), by_vectors.end());
  }
  return all;
}

std::vector<Direction> directions() {
  static const Algorithms fprop =
      with_vectors(emulated_amx_fprop(),
                   {&cpu::conv2d_fprop_avx512_bf16x1, &cpu::conv2d_fprop_grouped_avx512_bf16x1});
  static const Algorithms dgrad =
      with_vectors(emulated_amx_dgrad(),
                   {&cpu::conv2d_dgrad_avx512_bf16x1, &cpu::conv2d_dgrad_grouped_avx512_bf16x1});
  static const Algorithms wgrad =
      with_vectors(emulated_amx_wgrad(), {&cpu::conv2d_wgrad_avx512_bf16x1});
  std::vector<Direction> all = emulated_directions();
  if (all.empty()) return all;
  all[0].list = fprop;
  all[1].list = dgrad;
  all[2].list = wgrad;
  return all;
}

// Large enough for more than one block of the reduction and of C, and edges of tiles on all sides.
Conv2dProblem large_problem(Layout layout, Random& random) {
  Conv2dProblem p{};
  p.dtype = DType::f32;
  p.precision = Precision::bf16;  // admits all three algorithms
  p.N = 2;
  p.C = 70;
  p.K = 45;
  p.groups = 1;
  p.H = p.P = 15;
  p.W = p.Q = 17;
  p.R = p.S = 3;
  p.stride = p.dilation = p.pad = {1, 1};
  p.input = strides_of(layout, {p.N, p.C, p.H, p.W}, random);
  p.weight = strides_of(layout, {p.K, p.C, p.R, p.S}, random);
  p.output = strides_of(layout, {p.N, p.K, p.P, p.Q}, random);
  return p;
}

// Five groups of 14 channels and 9 filters.
Conv2dProblem grouped_problem(Layout layout, Random& random) {
  Conv2dProblem p = large_problem(layout, random);
  p.N = 1;
  p.groups = 5;
  p.H = p.P = 6;
  p.W = p.Q = 9;
  p.input = strides_of(layout, {p.N, p.C, p.H, p.W}, random);
  p.weight = strides_of(layout, {p.K, p.group_in_channels(), p.R, p.S}, random);
  p.output = strides_of(layout, {p.N, p.K, p.P, p.Q}, random);
  return p;
}

// Sums of 18 products, which fill no step, of pixels that are neighbours.
Conv2dProblem short_problem(Layout layout, Random& random) {
  Conv2dProblem p = large_problem(layout, random);
  p.C = p.K = 18;
  p.R = p.S = 1;
  p.pad = {0, 0};
  p.H = p.P = 16;
  p.W = p.Q = 20;
  p.input = strides_of(layout, Operands::input_sizes(p), random);
  p.weight = strides_of(layout, Operands::weight_sizes(p), random);
  p.output = strides_of(layout, Operands::output_sizes(p), random);
  return p;
}

constexpr Conv2dProblem (*kProblems[])(Layout, Random&) = {large_problem, grouped_problem,
                                                           short_problem};
constexpr Layout kLayouts[] = {Layout::nchw, Layout::nhwc};

// Where it is numbers that matter and not how the work is cut: the emulation is slow.
Conv2dProblem on_few_pixels(Conv2dProblem p, Random& random) {
  p.N = 1;
  p.H = p.P = 8;
  p.W = p.Q = 9;
  p.input = strides_of(Layout::nchw, Operands::input_sizes(p), random);
  p.output = strides_of(Layout::nchw, Operands::output_sizes(p), random);
  return p;
}

// 4608 products to a sum of fprop.
Conv2dProblem deep_problem(Random& random) {
  Conv2dProblem p = large_problem(Layout::nchw, random);
  p.N = 1;
  p.C = 512;
  p.K = 20;
  p.H = p.W = p.P = p.Q = 7;
  p.input = strides_of(Layout::nchw, {p.N, p.C, p.H, p.W}, random);
  p.weight = strides_of(Layout::nchw, {p.K, p.C, p.R, p.S}, random);
  p.output = strides_of(Layout::nchw, {p.N, p.K, p.P, p.Q}, random);
  return p;
}

// float operands given as double, for the reference in double.
template <class Source>
void widen_to_double(const TensorBlock& from, const TensorBlock& to) {
  std::vector<double> values;
  from.for_each<Source>([&](Source& x) { values.push_back(cpu::Storage<Source>::load(x)); });
  size_t at = 0;
  to.for_each<double>([&](double& x) { x = values[at++]; });
}

// ||actual - expected|| / ||expected|| with the sums of `reference` in double.
double error_of(const Conv2dAlgorithm& algorithm, const Direction& direction,
                const Conv2dProblem& problem, const Operands& operands) {
  Conv2dProblem exact = problem;
  exact.dtype = DType::f64;
  Random unused(0);
  const Operands wide({exact, false}, unused);
  cpu::dispatch_dtype(problem.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (auto tensor : {&Operands::input, &Operands::weight, &Operands::output}) {
      widen_to_double<T>(operands.*tensor, wide.*tensor);
    }
  });
  run(direction.reference, exact, wide.tensors(), threads(1));
  const Operands actual = operands;
  run(algorithm, problem, actual.tensors(), threads(1));
  std::vector<double> expected;
  (wide.*direction.written).for_each<double>([&](double& x) { expected.push_back(x); });
  double difference = 0, norm = 0;
  size_t at = 0;
  cpu::dispatch_dtype(problem.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    (actual.*direction.written).template for_each<T>([&](T& x) {
      const double off = static_cast<double>(cpu::Storage<T>::load(x)) - expected[at];
      difference += off * off;
      norm += expected[at] * expected[at];
      ++at;
    });
  });
  return difference == 0 ? 0 : std::sqrt(difference / norm);
}

// Whether integers become fractions that no bfloat16 holds on the way.
bool divides(const Conv2dAlgorithm& algorithm) {
  return std::string_view(algorithm.name).find("_f4_") != std::string_view::npos;
}

// Uniform in (-1, 1) with all 24 bits of a float.
float fraction(Random& random) {
  return static_cast<float>(random.between(-(1 << 24), 1 << 24)) * 0x1p-24f;
}

void fill_fractions(const Operands& operands, DType dtype, float input_scale, float weight_scale,
                    float output_scale, Random& random) {
  fill(operands.input, dtype, [&] { return fraction(random) * input_scale; });
  fill(operands.weight, dtype, [&] { return fraction(random) * weight_scale; });
  fill(operands.output, dtype, [&] { return fraction(random) * output_scale; });
}

}  // namespace

FASTCONV_TEST(amx, tile_product_by_hand) {
  if (!can_emulate()) return;
  const auto bits = [](float x) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16); };
  struct Products {
    float c, expected;
    float a0, b0, a1, b1;
  };
  const float tiny = 0x1p-126f, denormal = 0x1p-127f;
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Products& p :
       {Products{1, 1 + 6 + 20, 2, 3, 4, 5},
        // 1 + 2^-24 is a tie and goes to even; half as much again does not.
        Products{1, 1, 0x1p-12f, 0x1p-12f, 0, 0},
        Products{1, 1 + 0x1p-23f, 0x1p-12f, 0x1p-12f, 0x1p-13f, 0x1p-12f},
        // The pair is summed before C is touched: 2^-25 + 2^-25 is lost on 1 once and not twice.
        Products{1 + 0x1p-23f, 1 + 0x1p-22f, 0x1p-12f, 0x1p-13f, 0x1p-12f, 0x1p-13f},
        // No denormals: neither taken, nor made, nor kept in C.
        Products{0, 0, denormal, 1, 0, 0}, Products{0, 0, tiny, 0.5f, 0, 0},
        Products{denormal, 0, 0, 0, 0, 0}, Products{0, tiny, tiny, 1, 0, 0},
        Products{0, infinity, 0x1p100f, 0x1p100f, 1, 1}}) {
    float c[256] = {};
    uint16_t a[512] = {}, b[512] = {};
    constexpr int m = 3, n = 5, k = 7;
    c[m * 16 + n] = p.c;
    a[m * 32 + 2 * k] = bits(p.a0);
    a[m * 32 + 2 * k + 1] = bits(p.a1);
    b[k * 32 + 2 * n] = bits(p.b0);
    b[k * 32 + 2 * n + 1] = bits(p.b1);
    emulated_tile_product(c, a, b);
    check(c[m * 16 + n] == p.expected, "the product of ", p.a0, " ", p.b0, " and ", p.a1, " ", p.b1,
          " on ", p.c, " is ", c[m * 16 + n]);
  }
}

FASTCONV_TEST(amx, integers) {
  for (const Direction& d : directions()) {
    for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      Random random(11 + static_cast<uint64_t>(dtype));
      for (int i = 0; i < 60; ++i) {
        Case c = random_case(random, dtype);
        c.problem.precision = Precision::bf16;
        const Operands operands(c, random);
        const Operands expected = operands;
        run(d.reference, c.problem, expected.tensors(), threads(1));
        for (const Conv2dAlgorithm* algorithm : d.list) {
          if (!reason_against(*algorithm, c.problem).empty()) continue;
          if (divides(*algorithm)) {
            const Operands without_bias({c.problem, false}, random);
            const double error = error_of(*algorithm, d, c.problem, without_bias);
            check(error <= algorithm->error, describe(algorithm->name, c.problem, 1), ": error ",
                  error);
            continue;
          }
          for (int count : {1, 3}) {
            const Operands actual = operands;
            run(*algorithm, c.problem, actual.tensors(), threads(count));
            check_equal(actual.*d.written, expected.*d.written, dtype,
                        describe(algorithm->name, c.problem, count));
          }
        }
      }
    }
  }
}

FASTCONV_TEST(amx, error_within_what_is_stated) {
  Random random(21);
  const Conv2dProblem problems[] = {large_problem(Layout::nchw, random),
                                    large_problem(Layout::nhwc, random), deep_problem(random),
                                    grouped_problem(Layout::nchw, random),
                                    grouped_problem(Layout::nhwc, random)};
  for (const Direction& d : directions()) {
    for (const Conv2dProblem& p : problems) {
      for (const Conv2dAlgorithm* algorithm : d.list) {
        if (!reason_against(*algorithm, p).empty()) continue;
        const Operands operands({p, false}, random);
        fill_fractions(operands, p.dtype, 1, 1, 1, random);
        const double error = error_of(*algorithm, d, p, operands);
        const std::string what = describe(algorithm->name, p, 1);
        check(error <= algorithm->error, what, ": error ", error);
        // And no better than the terms allow: a problem that went to the vector units would show.
        check(algorithm->error < 1e-6 || error > algorithm->error / 100, what, ": error ", error,
              " is too good for its terms");
      }
    }
  }
}

FASTCONV_TEST(amx, sixteen_bit_floats_round_once) {
  Random random(22);
  for (const Direction& d : directions()) {
    for (const auto problem : kProblems) {
      for (Layout layout : kLayouts) {
        for (DType dtype : {DType::bf16, DType::f16}) {
          Conv2dProblem p = problem(layout, random);
          p.dtype = dtype;
          for (const Conv2dAlgorithm* algorithm : d.list) {
            if (!reason_against(*algorithm, p).empty()) continue;
            const Operands operands({p, false}, random);
            fill_fractions(operands, dtype, 1, 1, 1, random);
            const double error = error_of(*algorithm, d, p, operands);
            const double rounding = dtype == DType::bf16 ? 0x1p-9 : 0x1p-12;
            check(error <= rounding, describe(algorithm->name, p, 1), ": error ", error);
          }
        }
      }
    }
  }
}

// Scales at which terms are flushed, products are, and products overflow.
FASTCONV_TEST(amx, tiny_and_huge_numbers) {
  Random random(23);
  struct Scales {
    float input, weight, output;
  };
  for (const Direction& d : directions()) {
    for (const auto problem : kProblems) {
      const Conv2dProblem p = on_few_pixels(problem(Layout::nchw, random), random);
      for (const Scales& s :
           {Scales{0x1p-105f, 1, 1}, Scales{1, 0x1p-105f, 1}, Scales{1, 1, 0x1p-105f},
            Scales{0x1p-60f, 0x1p-50f, 0x1p-50f}, Scales{0x1p-90f, 0x1p-2f, 0x1p-2f},
            Scales{0x1p100f, 0x1p10f, 0x1p10f}, Scales{0x1p100f, 0x1p20f, 0x1p20f},
            Scales{0x1p60f, 0x1p50f, 0x1p50f}, Scales{0x1p-118f, 0x1p60f, 0x1p50f},
            Scales{0x1p60f, 0x1p-118f, 0x1p50f}, Scales{0x1p50f, 0x1p60f, 0x1p-118f}}) {
        for (const Conv2dAlgorithm* algorithm : d.list) {
          if (!reason_against(*algorithm, p).empty()) continue;
          const Operands operands({p, false}, random);
          fill_fractions(operands, p.dtype, s.input, s.weight, s.output, random);
          const double error = error_of(*algorithm, d, p, operands);
          check(error <= algorithm->error, algorithm->name, " at scales ", s.input, " ", s.weight,
                " ", s.output, ": error ", error);
        }
      }
    }
  }
}

// Huge numbers that meet tiny ones alone: their products are as large as the others, and the sums
// do not tell.
FASTCONV_TEST(amx, huge_numbers_that_meet_tiny_ones) {
  Random random(28);
  const auto scale_first = [](const TensorBlock& tensor, const Sizes4& sizes, size_t dimension,
                              float factor) {
    int64_t inner = 1, at = 0;
    for (size_t d = dimension + 1; d < 4; ++d) inner *= sizes[d];
    tensor.for_each<float>([&](float& x) {
      if (at++ / inner % sizes[dimension] == 0) x *= factor;
    });
  };
  for (const Direction& d : directions()) {
    for (const auto problem : kProblems) {
      for (const auto& [huge, tiny] : {std::pair{0x1p120f, 0x1p-115f}, {0x1p126f, 0x1p-126f}}) {
        Conv2dProblem p = problem(Layout::nchw, random);
        p.N = 2;
        p.input = strides_of(Layout::nchw, Operands::input_sizes(p), random);
        p.output = strides_of(Layout::nchw, Operands::output_sizes(p), random);
        const Operands operands({p, false}, random);
        fill_fractions(operands, p.dtype, 1, 1, 1, random);
        if (d.written == &Operands::output) {
          scale_first(operands.input, Operands::input_sizes(p), 1, huge);
          scale_first(operands.weight, Operands::weight_sizes(p), 1, tiny);
        } else if (d.written == &Operands::input) {
          scale_first(operands.output, Operands::output_sizes(p), 1, huge);
          scale_first(operands.weight, Operands::weight_sizes(p), 0, tiny);
        } else {
          scale_first(operands.input, Operands::input_sizes(p), 0, huge);
          scale_first(operands.output, Operands::output_sizes(p), 0, tiny);
        }
        for (const Conv2dAlgorithm* algorithm : d.list) {
          if (!reason_against(*algorithm, p).empty()) continue;
          const double error = error_of(*algorithm, d, p, operands);
          check(error <= algorithm->error, algorithm->name, " at ", huge, " and ", tiny, ": error ",
                error);
        }
      }
    }
  }
}

// Infinities, NaNs, numbers that round to infinity as bfloat16 and sums that overflow: what the
// vector units make of them, bit for bit but for the payloads of NaNs.
FASTCONV_TEST(amx, special_values) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const Conv2dAlgorithm* const vector_units[] = {&cpu::conv2d_fprop_im2col_gemm_avx512,
                                                 &cpu::conv2d_dgrad_im2col_gemm_avx512,
                                                 &cpu::conv2d_wgrad_im2col_gemm_avx512};
  const Conv2dAlgorithm* const grouped_units[] = {&cpu::conv2d_fprop_grouped_avx512,
                                                  &cpu::conv2d_dgrad_grouped_avx512};
  Random random(24);
  size_t direction = 0, turn = 0;
  for (const Direction& d : directions()) {
    const auto vectors = [&](const Conv2dAlgorithm& algorithm) {
      const bool is_grouped = std::strstr(algorithm.name, "grouped") != nullptr;
      return is_grouped ? grouped_units[direction] : vector_units[direction];
    };
    for (const auto problem : kProblems) {
      for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
        for (float special : {kInfinity, -kInfinity, std::nanf(""), 3.4e38f, 3e38f}) {
          for (auto where : {&Operands::input, &Operands::weight, &Operands::output}) {
            Conv2dProblem p = problem(kLayouts[turn++ % 2], random);
            p.dtype = dtype;
            const Operands operands({p, false}, random);
            fill_fractions(operands, dtype, 1, 8, 8, random);
            int64_t count = 0;
            cpu::dispatch_dtype(dtype, [&](auto tag) {
              using T = typename decltype(tag)::type;
              (operands.*where).template for_each<T>([&](T&) { ++count; });
            });
            int64_t at = random.between(0, count - 1);
            cpu::dispatch_dtype(dtype, [&](auto tag) {
              using T = typename decltype(tag)::type;
              (operands.*where).template for_each<T>([&](T& x) {
                using Accumulator = typename cpu::Storage<T>::Accumulator;
                if (at-- == 0) x = cpu::Storage<T>::store(static_cast<Accumulator>(special));
              });
            });
            if (where == d.written) continue;
            for (const Conv2dAlgorithm* algorithm : d.list) {
              if (!reason_against(*algorithm, p).empty()) continue;
              const Operands expected = operands, actual = operands;
              run(*vectors(*algorithm), p, expected.tensors(), threads(1));
              run(*algorithm, p, actual.tensors(), threads(1));
              check_equal(actual.*d.written, expected.*d.written, dtype,
                          describe(algorithm->name, p, 1) + " with a " + std::to_string(special));
            }
          }
        }
      }
    }
    ++direction;
  }
}

void check_same_bits_of_threads(const Direction& d, const Conv2dProblem& p,
                                const Operands& operands) {
  for (const Conv2dAlgorithm* algorithm : d.list) {
    if (!reason_against(*algorithm, p).empty()) continue;
    const Operands one = operands;
    run(*algorithm, p, one.tensors(), threads(1));
    for (int count : {2, 3}) {
      const Operands many = operands;
      run(*algorithm, p, many.tensors(), threads(count));
      check_equal(many.*d.written, one.*d.written, p.dtype, describe(algorithm->name, p, count));
    }
  }
}

// What decides between tiles and vector units must not see how the work is cut.
FASTCONV_TEST(amx, same_bits_at_every_thread_count) {
  Random random(25);
  for (const Direction& d : directions()) {
    for (const auto problem : kProblems) {
      for (float special : {0.0f, 0x1p120f, 3e38f, std::numeric_limits<float>::infinity()}) {
        const Conv2dProblem p = problem(Layout::nhwc, random);
        const Operands operands({p, true}, random);
        fill_fractions(operands, p.dtype, 1, 1, 1, random);
        int64_t at = random.between(0, 500);
        const TensorBlock& read = d.written == &Operands::input ? operands.output : operands.input;
        read.for_each<float>([&](float& x) {
          if (special != 0 && at-- == 0) x = special;
        });
        check_same_bits_of_threads(d, p, operands);
      }
    }
  }
}

// A number that overflows in sums alone that lie between two rows of the output, where tiles go on
// from one to the next.
FASTCONV_TEST(amx, same_bits_whatever_lies_between_rows) {
  Random random(29);
  if (!can_emulate()) return;
  const Direction d = directions()[0];
  Conv2dProblem p = grouped_problem(Layout::nchw, random);
  p.C = p.K = 32;
  p.groups = 8;
  p.pad = {0, 0};
  p.H = 40;
  p.P = 38;
  p.W = 20;
  p.Q = 18;
  p.input = strides_of(Layout::nchw, Operands::input_sizes(p), random);
  p.weight = strides_of(Layout::nchw, Operands::weight_sizes(p), random);
  p.output = strides_of(Layout::nchw, Operands::output_sizes(p), random);
  for (int64_t row : {4, 9, 13, 14, 19, 20, 26}) {
    const Operands operands({p, false}, random);
    fill_fractions(operands, p.dtype, 1, 1, 1, random);
    int64_t at = 0;
    operands.weight.for_each<float>([&](float& x) {
      if (at % 9 >= 2) x = 0;
      ++at;
    });
    at = 0;
    operands.input.for_each<float>([&](float& x) {
      if (at % 800 == row * 20 + 19) x = 3e38f;
      ++at;
    });
    check_same_bits_of_threads(d, p, operands);
  }
}

FASTCONV_TEST(amx, precision_decides_how_many_products) {
  if (!can_emulate()) return;
  Random random(26);
  Conv2dProblem p = large_problem(Layout::nchw, random);
  const auto accepted = [&](Precision precision) {
    p.precision = precision;
    int count = 0;
    for (const Conv2dAlgorithm* algorithm : emulated_amx_fprop()) {
      count += algorithm->reject(p) == nullptr;
    }
    return count;
  };
  check(accepted(Precision::none) == 3, "none takes six products alone, in all three ways");
  check(accepted(Precision::ieee) == 2, "ieee takes six products alone, but not F(4x4)");
  check(accepted(Precision::tf32) == 6, "tf32 takes three or six");
  check(accepted(Precision::bf16) == 7, "bf16 takes any");
}

// The instruction that rounds to bfloat16 flushes denormals, which sums of products never are: with
// nothing but zeros to multiply, the bias is all there is, and comes out as the vector units have
// it.
FASTCONV_TEST(amx, bfloat16_keeps_what_its_instruction_would_flush) {
  if (cpu::usable_isa() < cpu::Isa::avx512_bf16) return;
  std::vector<const Conv2dAlgorithm*> algorithms = {&cpu::conv2d_fprop_avx512_bf16x1};
  if (cpu::usable_isa() >= cpu::Isa::amx) algorithms.push_back(&cpu::conv2d_fprop_amx_bf16x1);
  Random random(30);
  for (int64_t filters : {5, 16, 17, 32, 40}) {
    Conv2dProblem p = short_problem(Layout::nhwc, random);
    p.dtype = DType::bf16;
    p.K = filters;
    p.weight = strides_of(Layout::nhwc, Operands::weight_sizes(p), random);
    p.output = strides_of(Layout::nhwc, Operands::output_sizes(p), random);
    const Operands operands({p, true}, random);
    fill(operands.input, p.dtype, [] { return 0.0f; });
    size_t at = 0;
    fill(operands.bias, p.dtype, [&] {
      constexpr float kBiases[] = {0x1p-133f,
                                   -0x1.8p-127f,
                                   0x1p-126f,
                                   1,
                                   0x1.fep127f,
                                   -0x1p-130f,
                                   std::numeric_limits<float>::infinity()};
      return kBiases[at++ % std::size(kBiases)];
    });
    const Operands expected = operands;
    run(cpu::conv2d_fprop_im2col_gemm_avx512, p, expected.tensors(), threads(1));
    for (const Conv2dAlgorithm* algorithm : algorithms) {
      const Operands actual = operands;
      run(*algorithm, p, actual.tensors(), threads(1));
      check_equal(actual.output, expected.output, p.dtype, describe(algorithm->name, p, 1));
    }
  }
}

// Where there is AMX, the emulation is held to it: the same bits from both.
FASTCONV_TEST(amx, emulated_and_real_tiles_agree) {
  if (cpu::usable_isa() < cpu::Isa::amx) return;
  const auto real_of = [](const Conv2dAlgorithm& emulated) {
    const std::string name = std::string("conv2d_") + (emulated.name + std::strlen("emulated "));
    const cpu::Conv2dList list =
        std::string_view(emulated.direction) == "fprop"   ? cpu::conv2d_fprop_algorithms()
        : std::string_view(emulated.direction) == "dgrad" ? cpu::conv2d_dgrad_algorithms()
                                                          : cpu::conv2d_wgrad_algorithms();
    const Conv2dAlgorithm* found = nullptr;
    for (const Conv2dAlgorithm* algorithm : list) {
      if (algorithm->name == name) found = algorithm;
    }
    check(found != nullptr, "there is no ", name);
    return found;
  };
  Random random(27);
  for (const Direction& d : emulated_directions()) {
    for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      for (const auto problem : kProblems) {
        for (Layout layout : kLayouts) {
          Conv2dProblem p = problem(layout, random);
          p.dtype = dtype;
          for (const Conv2dAlgorithm* emulated : d.list) {
            if (!reason_against(*emulated, p).empty()) continue;
            const Conv2dAlgorithm* const real = real_of(*emulated);
            const Operands operands({p, false}, random);
            fill_fractions(operands, dtype, 1, 1, 1, random);
            const Operands expected = operands, actual = operands;
            run(*emulated, p, expected.tensors(), threads(1));
            run(*real, p, actual.tensors(), threads(1));
            check_equal(actual.*d.written, expected.*d.written, dtype, describe(real->name, p, 1));
          }
        }
      }
    }
  }
}
#endif  // __x86_64__
