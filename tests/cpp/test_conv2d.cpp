// Every convolution algorithm that this process may run against the reference, on integer data:
// all sums are exact in float, so that any difference is an error.
#include <algorithm>
#include <cmath>

#include "conv2d_cases.h"
#include "cpu/conv2d/col2im_plan.h"
#include "cpu/conv2d/dot_rows.h"
#include "cpu/conv2d/entries.h"
#include "cpu/conv2d/zero_borders.h"
#include "cpu/dispatch_dtype.h"

using namespace fastconv;
using namespace fastconv::test;
using fastconv::cpu::Conv2dAlgorithm;
using fastconv::cpu::Conv2dTensors;

namespace {

// Winograd F(4x4) is not exact on integers, but tells each from the next: rounded to the integer
// that it is as close to as its error lets it be. (In 16 bits too, which hold all integers that
// come out here.)
void round_where_inexact(const Conv2dAlgorithm& algorithm, DType dtype, const TensorBlock& tensor) {
  if (algorithm.error < 1e-6) return;
  const double reach = std::min(500 * algorithm.error, 0.05);
  cpu::dispatch_dtype(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    tensor.for_each<T>([&](T& value) {
      const double x = cpu::Storage<T>::load(value), integer = std::nearbyint(x);
      if (std::abs(x - integer) < reach) {
        using Accumulator = typename cpu::Storage<T>::Accumulator;
        value = cpu::Storage<T>::store(static_cast<Accumulator>(integer == 0 ? 0 : integer));
      }
    });
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
void check_case(cpu::Conv2dList list, const Conv2dAlgorithm& reference,
                TensorBlock Operands::* written, const Case& c, Random& random) {
  const DType dtype = c.problem.dtype;
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
      round_where_inexact(*algorithm, dtype, actual.*written);
      check_equal((actual.*written), (expected.*written), dtype,
                  describe(algorithm->name, c.problem, count));
    }
  }
}

void check_fprop(const Case& c, Random& random) {
  check_case(cpu::conv2d_fprop_algorithms(), cpu::conv2d_fprop_reference, &Operands::output, c,
             random);
}
void check_dgrad(const Case& c, Random& random) {
  check_case(cpu::conv2d_dgrad_algorithms(), cpu::conv2d_dgrad_reference, &Operands::input, c,
             random);
}
void check_wgrad(const Case& c, Random& random) {
  check_case(cpu::conv2d_wgrad_algorithms(), cpu::conv2d_wgrad_reference, &Operands::weight, c,
             random);
}
void check_every_direction(const Case& c, Random& random) {
  check_fprop(c, random);
  check_dgrad(c, random);
  check_wgrad(c, random);
}

void check_list(cpu::Conv2dList list, const Conv2dAlgorithm& reference,
                TensorBlock Operands::* written, uint64_t seed) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    Random random(seed + static_cast<uint64_t>(dtype));
    for (int i = 0; i < 60; ++i) {
      check_case(list, reference, written, random_case(random, dtype), random);
    }
  }
}

// channels_last, lines of several pixels, windows that reach into the padding.
Case bordered_case(Random& random) {
  for (;;) {
    Conv2dProblem p{};
    p.dtype = random.pick({DType::f32, DType::f32, DType::f64});
    p.N = random.between(1, 4);
    p.groups = random.pick<int64_t>({1, 1, 2});
    p.C = p.groups * random.between(1, 40);
    p.K = p.groups * random.between(2, random.one_in(4) ? 128 : 40);
    p.H = random.between(1, 20);
    p.W = random.between(8, 60);
    p.R = random.between(1, 5);
    p.S = random.between(1, 5);
    p.stride = {random.between(1, 3), random.between(1, 2)};
    p.dilation = {random.between(1, 3), random.between(1, 2)};
    p.pad = {random.between(0, 4), random.between(0, 4)};
    p.P = out_extent(p.H, p.R, p.stride.h, p.pad.h, random.between(0, 4), p.dilation.h);
    p.Q = out_extent(p.W, p.S, p.stride.w, p.pad.w, random.between(0, 4), p.dilation.w);
    if (p.P == 0 || p.Q == 0) continue;
    p.input = strides_of(Layout::nhwc, Operands::input_sizes(p), random);
    p.weight =
        strides_of(random.pick({Layout::nchw, Layout::nhwc}), Operands::weight_sizes(p), random);
    p.output = strides_of(Layout::nhwc, Operands::output_sizes(p), random);
    return {p, random.one_in(2)};
  }
}

// Planes whose every other pixel is read in fprop and written in dgrad, wide enough for whole
// vectors of them; or one channel, whose rows of taps are read as they lie.
Case strided_case(Random& random) {
  for (;;) {
    Conv2dProblem p{};
    p.dtype = random.pick({DType::f32, DType::f64, DType::bf16, DType::f16});
    const bool one_channel = random.one_in(3);
    p.N = random.between(1, 2);
    p.groups = one_channel ? 1 : random.between(1, 2);
    p.C = one_channel ? 1 : p.groups * random.between(1, 20);
    p.K = p.groups * random.between(1, 40);
    p.H = random.between(1, 12);
    p.W = random.between(1, 150);
    p.R = random.between(1, 4);
    p.S = random.between(1, 20);
    p.stride = {random.between(1, 3), random.pick<int64_t>({2, 2, 2, 1, 3})};
    p.dilation = {1, random.pick<int64_t>({1, 1, 2})};
    p.pad = {random.between(0, 2), random.between(0, 12)};
    p.P = out_extent(p.H, p.R, p.stride.h, p.pad.h, random.between(0, 2), p.dilation.h);
    p.Q = out_extent(p.W, p.S, p.stride.w, p.pad.w, random.between(0, 12), p.dilation.w);
    if (p.P == 0 || p.Q == 0) continue;
    const auto layout = [&] { return random.pick({Layout::nchw, Layout::nchw, Layout::nhwc}); };
    p.input = strides_of(layout(), Operands::input_sizes(p), random);
    p.weight = strides_of(layout(), Operands::weight_sizes(p), random);
    p.output = strides_of(layout(), Operands::output_sizes(p), random);
    return {p, random.one_in(2)};
  }
}

// One to four pixels of output, windows of any size, filters that are mostly contiguous.
Case few_pixels_case(Random& random) {
  Conv2dProblem p{};
  p.dtype = random.pick({DType::f32, DType::f64, DType::bf16, DType::f16});
  p.N = random.between(1, 2);
  p.P = random.between(1, 2);
  p.Q = p.N * p.P == 4 ? 1 : random.between(1, 4 / (p.N * p.P));
  p.groups = random.pick<int64_t>({1, 1, 3});
  p.C = p.groups * random.between(1, random.one_in(6) ? 900 : 40);
  p.K = p.groups * random.between(1, 30);
  p.R = random.between(1, 5);
  p.S = random.between(1, 5);
  p.stride = {random.between(1, 3), random.between(1, 3)};
  p.dilation = {random.between(1, 2), random.between(1, 2)};
  p.pad = {random.between(0, 3), random.between(0, 3)};
  p.H = std::max<int64_t>((p.P - 1) * p.stride.h + (p.R - 1) * p.dilation.h + 1 - 2 * p.pad.h, 1);
  p.W = std::max<int64_t>((p.Q - 1) * p.stride.w + (p.S - 1) * p.dilation.w + 1 - 2 * p.pad.w, 1);
  const auto layout = [&] { return random.pick({Layout::nchw, Layout::nhwc}); };
  p.input = strides_of(random.pick({Layout::nchw, Layout::nhwc, Layout::odd}),
                       Operands::input_sizes(p), random);
  p.weight = strides_of(layout(), Operands::weight_sizes(p), random);
  p.output = strides_of(layout(), Operands::output_sizes(p), random);
  return {p, random.one_in(2)};
}

// What lies in the copy of random blocks, in exactly the bytes that it asks for, wherever a tap
// looks: the image's element or zero.
void check_borders(const cpu::Gather& gather, const cpu::ZeroBorders& borders, Random& random) {
  const cpu::Im2col &m = gather.x, &bordered = borders.image();
  const Block image((m.last_offset() + 1) * 4, 0);
  float* const at = reinterpret_cast<float*>(image.data());
  for (int64_t i = 0; i <= m.last_offset(); ++i) at[i] = static_cast<float>(i + 1);
  const int64_t lines = m.images * m.grid_h;
  for (int block = 0; block < 3; ++block) {
    const int64_t most = std::min(lines, borders.most_pixels() / m.grid_w);
    const int64_t size = random.between(1, most), first = random.between(0, lines - size);
    const cpu::Range pixels{first * m.grid_w, size * m.grid_w};
    const Block copy(borders.elements(pixels.size) * 4, 0xff);
    const int64_t origin = borders.copy(image.data(), pixels, copy.data());
    for (int look = 0; look < 500; ++look) {
      const auto pixel =
          cpu::PixelIndex::at(m, random.between(pixels.begin, pixels.begin + pixels.size - 1));
      const int64_t row = random.between(0, m.rows.count - 1),
                    c = random.between(0, m.channels - 1);
      const int64_t column = random.between(0, m.columns.count - 1);
      const auto position = [&](const cpu::Im2col& matrix) {
        return std::pair{
            pixel.row * m.step.h + matrix.rows.offset + row * matrix.rows.offset_step,
            pixel.column * m.step.w + matrix.columns.offset + column * matrix.columns.offset_step};
      };
      const auto [h, w] = position(m);
      const auto [copy_h, copy_w] = position(bordered);
      const bool inside = h >= 0 && h < m.height && w >= 0 && w < m.width;
      const auto& s = m.strides;
      const auto& to = bordered.strides;
      const float expected = inside ? at[pixel.image * s.n + c * s.c + h * s.h + w * s.w] : 0.0F;
      const int64_t place = pixel.image * to.n + c * to.c + copy_h * to.h + copy_w * to.w - origin;
      check(place >= 0 && place < borders.elements(pixels.size), "place ", place);
      check(reinterpret_cast<const float*>(copy.data())[place] == expected, "element at ", h, ", ",
            w, " of image ", pixel.image);
    }
  }
}

// Windows that overlap, touch or leave gaps, over rows of more pixels than vectors have lanes;
// blocks of channels and of pixels that end anywhere.
Case col2im_case(Random& random) {
  Conv2dProblem p{};
  p.dtype = random.pick({DType::f32, DType::f32, DType::f64, DType::bf16, DType::f16});
  p.N = random.between(1, 3);
  p.P = random.between(1, 9);
  p.Q = random.between(1, random.one_in(3) ? 70 : 12);
  p.groups = random.pick<int64_t>({1, 1, 2, 5});
  p.C = p.groups * random.between(1, random.one_in(3) ? 130 : 9);
  p.K = p.groups * random.between(1, random.one_in(5) ? 300 : 20);
  p.R = random.between(1, 5);
  p.S = random.between(p.R == 1 ? 2 : 1, 5);
  p.stride = {random.between(1, 4), random.between(1, 4)};
  p.dilation = {random.between(1, 3), random.between(1, 3)};
  p.pad = {random.between(0, 4), random.between(0, 4)};
  const auto extent = [&](int64_t outputs, int64_t stride, int64_t taps, int64_t dilation,
                          int64_t pad) {
    const int64_t least = (outputs - 1) * stride + (taps - 1) * dilation + 1 - 2 * pad;
    return std::max<int64_t>(least + random.between(0, stride - 1), 1);
  };
  p.H = extent(p.P, p.stride.h, p.R, p.dilation.h, p.pad.h);
  p.W = extent(p.Q, p.stride.w, p.S, p.dilation.w, p.pad.w);
  const auto layout = [&] { return random.pick({Layout::nchw, Layout::nhwc, Layout::odd}); };
  p.input = strides_of(layout(), Operands::input_sizes(p), random);
  p.weight =
      strides_of(random.pick({Layout::nchw, Layout::nhwc}), Operands::weight_sizes(p), random);
  p.output = strides_of(layout(), Operands::output_sizes(p), random);
  return {p, false};
}

// Small planes whose blocks of channels end anywhere, of images that fill more than one chunk.
Case small_planes_case(Random& random) {
  for (;;) {
    Conv2dProblem p{};
    p.dtype = random.pick({DType::f32, DType::f32, DType::f64, DType::bf16, DType::f16});
    p.C = p.K = p.groups = random.between(8, 140);
    p.H = random.between(1, random.one_in(3) ? 30 : 10);
    p.W = random.between(1, random.one_in(3) ? 30 : 10);
    p.N = random.one_in(5) ? random.between(4, 40) : random.between(0, 3);
    p.R = random.between(1, 5);
    p.S = random.between(1, 5);
    p.stride = {random.between(1, 3), random.between(1, 3)};
    p.dilation = {random.between(1, 2), random.between(1, 2)};
    p.pad = {random.between(0, 3), random.between(0, 3)};
    p.P = out_extent(p.H, p.R, p.stride.h, p.pad.h, random.between(0, 3), p.dilation.h);
    p.Q = out_extent(p.W, p.S, p.stride.w, p.pad.w, random.between(0, 3), p.dilation.w);
    if (p.P == 0 || p.Q == 0 || p.N * p.C * p.H * p.W > 40'000) continue;
    const auto layout = [&] { return random.pick({Layout::nchw, Layout::nchw, Layout::odd}); };
    p.input = strides_of(layout(), Operands::input_sizes(p), random);
    p.weight =
        strides_of(random.pick({Layout::nchw, Layout::nhwc}), Operands::weight_sizes(p), random);
    p.output = strides_of(layout(), Operands::output_sizes(p), random);
    return {p, random.one_in(2)};
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

// Tiles of pixels that reach into the padding are read from a copy with zeros around it.
FASTCONV_TEST(conv2d, zero_borders) {
  Random random(5);
  int fprop = 0, dgrad = 0;
  for (int i = 0; i < 60; ++i) {
    const Case c = bordered_case(random);
    check_fprop(c, random);
    check_dgrad(c, random);
    const auto pay = [&](const cpu::Gather& gather) {
      const cpu::ZeroBorders borders(gather, 14, sizeof(float));
      if (borders.pay()) check_borders(gather, borders, random);
      return borders.pay();
    };
    fprop += pay(cpu::fprop_gather(c.problem));
    dgrad += pay(cpu::dgrad_gather(c.problem, 0, 0));
  }
  check(fprop > 20 && dgrad > 10, "copied in ", fprop, " and ", dgrad, " cases of 60");
}

FASTCONV_TEST(conv2d, every_other_pixel) {
  Random random(6);
  for (int i = 0; i < 80; ++i) {
    const Case c = strided_case(random);
    check_every_direction(c, random);
  }
}

FASTCONV_TEST(conv2d, few_pixels) {
  Random random(7);
  for (int i = 0; i < 120; ++i) {
    const Case c = few_pixels_case(random);
    check(cpu::reject_dot_products(c.problem) == nullptr, "is not for dot products");
    check_every_direction(c, random);
  }
}

FASTCONV_TEST(conv2d, col2im) {
  Random random(8);
  for (int i = 0; i < 150; ++i) {
    const Case c = col2im_case(random);
    check(cpu::reject_col2im(c.problem) == nullptr, "is not for col2im");
    check_dgrad(c, random);
  }
}

FASTCONV_TEST(conv2d, depthwise_small_planes) {
  Random random(9);
  for (int i = 0; i < 100; ++i) {
    const Case c = small_planes_case(random);
    check_every_direction(c, random);
  }
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
