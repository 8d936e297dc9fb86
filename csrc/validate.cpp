#include "validate.h"

#include <algorithm>

#include "checked.h"
#include "message.h"

namespace fastconv {
namespace {

// One value stands for both axes.
Extent2 conv2d_pair(Sizes values, const char* name) {
  require(values.size() == 1 || values.size() == 2, "expected ", name,
          " to be a single integer value or a list of 2 values to match the convolution "
          "dimensions, but got ",
          name, "=", values);
  return {values[0], values.back()};
}

struct Padding {
  int64_t top, bottom, left, right;
};

Padding conv2d_padding(Sizes values) {
  if (values.size() == 4) return {values[0], values[1], values[2], values[3]};
  const Extent2 pad = conv2d_pair(values, "padding");
  return {pad.h, pad.h, pad.w, pad.w};
}

// The extent of the input with its padding, and of the window with its dilation.
struct Reach {
  int64_t padded, window;
};

Reach reach(int64_t extent, int64_t pad_begin, int64_t pad_end, int64_t taps, int64_t dilation) {
  const int64_t padded = checked_add(extent, checked_add(pad_begin, pad_end, "padding"), "padding");
  const int64_t window = checked_add(checked_mul(dilation, taps - 1, "dilation"), 1, "dilation");
  return {padded, window};
}

std::span<const int64_t> spatial(Sizes sizes) { return sizes.last(2); }

// A tensor of these sizes can be allocated and indexed with int64. Sizes of real tensors always
// can; those that a raw backward operator is given as a list may say anything.
void check_sizes(Sizes sizes, DType dtype, const char* what) {
  int64_t bytes = size_of(dtype);
  for (int64_t size : sizes) {
    require(size >= 0, "Expected ", what, " of non-negative sizes, but got ", sizes);
    bytes = checked_mul(bytes, size, what);
  }
}

}  // namespace

Conv2dProblem conv2d_problem(DType dtype, Sizes input, Sizes weight, const Sizes* bias,
                             const Conv2dParams& params) {
  require(
      input.size() == 3 || input.size() == 4,
      "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: ", input);
  check_sizes(input, dtype, "input");
  check_sizes(weight, dtype, "weight");
  require(weight.size() >= 3, "weight should have at least three dimensions");
  require(weight.size() == 4, "Expected ", weight.size(), "-dimensional input for ", weight.size(),
          "-dimensional weight", weight, ", but got 4-dimensional input of size ", input,
          " instead");
  const Extent2 stride = conv2d_pair(params.stride, "stride");
  const Padding pad = conv2d_padding(params.padding);
  const Extent2 dilation = conv2d_pair(params.dilation, "dilation");
  require(params.groups > 0, "non-positive groups is not supported");
  require(pad.top >= 0 && pad.bottom >= 0 && pad.left >= 0 && pad.right >= 0,
          "negative padding is not supported");
  require(stride.h > 0 && stride.w > 0, "non-positive stride is not supported");
  require(dilation.h > 0 && dilation.w > 0, "dilation should be greater than zero, but got ",
          params.dilation);

  const int64_t groups = params.groups;
  require(weight[0] >= groups, "Given groups=", groups, ", expected weight to be at least ", groups,
          " at dimension 0, but got weight of size ", weight, " instead");
  require(weight[0] % groups == 0, "Given groups=", groups, ", expected weight to be divisible by ",
          groups, " at dimension 0, but got weight of size ", weight, " instead");
  const int64_t channels = input[input.size() - 3];
  const int64_t expected_channels = checked_mul(weight[1], groups, "groups");
  require(channels == expected_channels, "Given groups=", groups, ", weight of size ", weight,
          ", expected input", input, " to have ", expected_channels, " channels, but got ",
          channels, " channels instead");
  require(bias == nullptr || (bias->size() == 1 && (*bias)[0] == weight[0]),
          "Given weight of size ", weight, ", expected bias to be 1-dimensional with ", weight[0],
          " elements, but got bias of size ", bias == nullptr ? Sizes{} : *bias, " instead");
  require(weight[2] > 0 && weight[3] > 0,
          "kernel size should be greater than zero, but got kernel size ", spatial(weight));

  Conv2dProblem p{};
  p.dtype = dtype;
  p.N = input.size() == 4 ? input[0] : 1;
  p.C = channels;
  p.H = spatial(input)[0];
  p.W = spatial(input)[1];
  p.K = weight[0];
  p.R = weight[2];
  p.S = weight[3];
  p.groups = groups;
  p.stride = stride;
  p.dilation = dilation;
  p.pad = {pad.top, pad.left};

  const Reach rows = reach(p.H, pad.top, pad.bottom, p.R, dilation.h);
  const Reach columns = reach(p.W, pad.left, pad.right, p.S, dilation.w);
  require(rows.padded >= rows.window && columns.padded >= columns.window,
          "Calculated padded input size per channel: (", rows.padded, " x ", columns.padded,
          "). Kernel size: (", rows.window, " x ", columns.window,
          "). Kernel size can't be greater than actual input size");
  require(p.N == 0 || p.C == 0 || (p.H > 0 && p.W > 0),
          "Only zero batch or zero channel inputs are supported, but got input shape: ", input);
  p.P = (rows.padded - rows.window) / stride.h + 1;
  p.Q = (columns.padded - columns.window) / stride.w + 1;
  const int64_t output[] = {p.N, p.K, p.P, p.Q};
  check_sizes(output, dtype, "output");
  return p;
}

void check_grad_output(const Conv2dProblem& p, Sizes grad_output, bool batched) {
  const int64_t expected[] = {p.N, p.K, p.P, p.Q};
  const Sizes shape = batched ? Sizes(expected) : Sizes(expected).last(3);
  require(std::equal(shape.begin(), shape.end(), grad_output.begin(), grad_output.end()),
          "Expected grad_output of size ", shape, ", but got grad_output of size ", grad_output);
}

namespace {

// Torch's pooling takes what fits an int, and refuses the rest in these words.
Extent2 pool_pair(Sizes values, const char* name, const char* message) {
  require(values.size() == 1 || values.size() == 2, message);
  for (int64_t value : values) {
    require(value == static_cast<int32_t>(value), "max_pool2d: ", name, "=", values,
            ": value cannot be converted to type int without overflow");
  }
  return {values[0], values.back()};
}

struct PoolAxis {
  int64_t extent, kernel, stride, pad, dilation;
};

// The number of windows along one axis. With ceil_mode a last window may hang over the end, but it
// must not start in the padding behind it.
int64_t pooled_extent(const PoolAxis& a, bool ceil_mode) {
  const int64_t window =
      checked_add(checked_mul(a.dilation, a.kernel - 1, "dilation"), 1, "dilation");
  const int64_t padded = checked_add(a.extent, checked_mul(2, a.pad, "padding"), "padding");
  const int64_t slack = checked_add(padded, -window, "dilation");
  const int64_t rounded = checked_add(slack, ceil_mode ? a.stride - 1 : 0, "stride");
  if (rounded < 0) return 0;
  int64_t count = rounded / a.stride + 1;
  if (ceil_mode && checked_mul(count - 1, a.stride, "stride") >= a.extent + a.pad) --count;
  return count;
}

void check_pool_padding(const PoolAxis& a) {
  require(a.pad >= 0, "pad must be non-negative, but got pad: ", a.pad);
  const int64_t window =
      checked_add(checked_mul(a.dilation, a.kernel - 1, "dilation"), 1, "dilation");
  require(a.pad <= window / 2,
          "pad should be at most half of effective kernel size, but got pad=", a.pad,
          ", kernel_size=", a.kernel, " and dilation=", a.dilation);
}

void check_pool_rank(Sizes input) {
  require(input.size() == 3 || input.size() == 4,
          "non-empty 3D or 4D (batch mode) tensor expected for input");
}

// Only the batch may be empty.
void check_pool_planes(Sizes input) {
  const Sizes planes = input.size() == 4 ? input.last(3) : input;
  require(
      std::ranges::find(planes, 0) == planes.end(),
      "Expected 3D or 4D (batch mode) tensor with optional 0 dim batch size for input, but got:",
      input);
}

Pool2dProblem planes_of(DType dtype, Sizes input) {
  Pool2dProblem p{};
  p.dtype = dtype;
  p.N = input.size() == 4 ? input[0] : 1;
  p.C = input[input.size() - 3];
  p.H = spatial(input)[0];
  p.W = spatial(input)[1];
  return p;
}

}  // namespace

Pool2dProblem max_pool2d_problem(DType dtype, Sizes input, const Pool2dParams& params) {
  const Extent2 kernel =
      pool_pair(params.kernel_size, "kernel_size",
                "max_pool2d: kernel_size must either be a single int, or a tuple of two ints");
  const Extent2 stride =
      params.stride.empty()
          ? kernel
          : pool_pair(
                params.stride, "stride",
                "max_pool2d: stride must either be omitted, a single int, or a tuple of two ints");
  const Extent2 pad =
      pool_pair(params.padding, "padding",
                "max_pool2d: padding must either be a single int, or a tuple of two ints");
  const Extent2 dilation =
      pool_pair(params.dilation, "dilation",
                "max_pool2d: dilation must be either a single int, or a tuple of two ints");
  check_pool_rank(input);
  Pool2dProblem p = planes_of(dtype, input);
  p.kernel = kernel;
  p.stride = stride;
  p.pad = pad;
  p.dilation = dilation;
  const PoolAxis rows{p.H, kernel.h, stride.h, pad.h, dilation.h};
  const PoolAxis columns{p.W, kernel.w, stride.w, pad.w, dilation.w};
  require(stride.h != 0 && stride.w != 0, "stride should not be zero");
  check_pool_padding(rows);
  check_pool_padding(columns);
  require(kernel.h > 0 && kernel.w > 0,
          "kernel size should be greater than zero, but got kH: ", kernel.h, " kW: ", kernel.w);
  require(stride.h > 0 && stride.w > 0,
          "stride should be greater than zero, but got dH: ", stride.h, " dW: ", stride.w);
  require(dilation.h > 0 && dilation.w > 0,
          "dilation should be greater than zero, but got dilationH: ", dilation.h,
          " dilationW: ", dilation.w);
  check_pool_planes(input);
  require(pad.h <= kernel.h / 2 && pad.w <= kernel.w / 2,
          "pad should be smaller than or equal to half of kernel size, but got padW = ", pad.w,
          ", padH = ", pad.h, ", kW = ", kernel.w, ", kH = ", kernel.h);
  p.P = pooled_extent(rows, params.ceil_mode);
  p.Q = pooled_extent(columns, params.ceil_mode);
  require(p.P >= 1 && p.Q >= 1, "Given input size: (", p.C, "x", p.H, "x", p.W,
          "). Calculated output size: (", p.C, "x", p.P, "x", p.Q, "). Output size is too small");
  const int64_t output[] = {p.N, p.C, p.P, p.Q};
  check_sizes(output, DType::f64, "output");
  return p;
}

Pool2dProblem max_pool2d_backward_problem(DType dtype, Sizes input, Sizes grad_output,
                                          Sizes indices, const Pool2dParams* window) {
  check_sizes(input, dtype, "input");
  check_pool_rank(input);
  check_pool_planes(input);
  require(grad_output.size() == input.size(), "Expected grad_output of ", input.size(),
          " dimensions like the input, but got grad_output of size ", grad_output);
  require(std::equal(grad_output.begin(), grad_output.end(), indices.begin(), indices.end()),
          "Expected grad_output and indices of the same size, but got ", grad_output, " and ",
          indices);
  Pool2dProblem p = planes_of(dtype, input);
  if (window != nullptr) {
    p = max_pool2d_problem(dtype, input, *window);
  } else {
    p.P = spatial(grad_output)[0];
    p.Q = spatial(grad_output)[1];
  }
  const int64_t expected[] = {p.N, p.C, p.P, p.Q};
  const Sizes shape = input.size() == 4 ? Sizes(expected) : Sizes(expected).last(3);
  require(std::equal(shape.begin(), shape.end(), grad_output.begin()), "Expected grad_output ",
          window == nullptr ? "with the batch and channels" : "of a pooling", " of the input ",
          input, ", but got grad_output of size ", grad_output);
  return p;
}

}  // namespace fastconv
