// The problem structs: everything that a kernel may know about a call, and nothing of torch.
//
// Letters are the field's: N batch, C in_channels, H x W input plane, K out_channels, R x S kernel
// window, P x Q output plane. Strides count elements, not bytes, and may be anything torch can
// express: zero (expanded), permuted, not dense. A problem that reaches a kernel has been through
// validate.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastconv {

enum class DType : uint8_t { f32, f64, bf16, f16 };

constexpr int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return 8;
    case DType::f32:
      return 4;
    case DType::bf16:
    case DType::f16:
      return 2;
  }
  return 0;
}

constexpr const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float32";
    case DType::f64:
      return "float64";
    case DType::bf16:
      return "bfloat16";
    case DType::f16:
      return "float16";
  }
  return "unknown";
}

struct Extent2 {
  int64_t h, w;
};

// torch's fp32_precision switch: how far float32 products may be rounded. none leaves it to us
// (within 2e-6 of float64, or twice torch's own error); ieee asks for float32's own grade, of the
// sums of 16-bit types too; tf32 and bf16 allow what products of that format would cost.
enum class Precision : uint8_t { none, ieee, tf32, bf16 };

constexpr const char* name_of(Precision precision) {
  switch (precision) {
    case Precision::none:
      return "none";
    case Precision::ieee:
      return "ieee";
    case Precision::tf32:
      return "tf32";
    case Precision::bf16:
      return "bf16";
  }
  return "unknown";
}

// Element strides of a 4-D tensor. For a weight [K, C/groups, R, S] read them as (k, c, r, s).
struct Strides4 {
  int64_t n, c, h, w;
};

// One convolution in all its directions: fprop reads input and weight and writes output, dgrad
// reads output and weight and writes input, wgrad reads input and output and writes weight.
// "input", "weight" and "output" name the three tensors by their place in the forward pass,
// whichever of them holds a gradient.
struct Conv2dProblem {
  DType dtype;
  int64_t N, C, H, W;
  int64_t K, R, S;
  int64_t P, Q;
  int64_t groups;
  Extent2 stride, dilation;
  Extent2 pad;  // before the first row and column; what lies after the last follows from P and Q
  Strides4 input, weight, output;
  Precision precision = Precision::none;
  bool weight_is_packed = false;  // Conv2dTensors::packed_weight is given

  constexpr int64_t group_in_channels() const { return C / groups; }
  constexpr int64_t group_out_channels() const { return K / groups; }
  // For an algorithm that is not the one that packed the weight.
  constexpr Conv2dProblem unpacked() const {
    Conv2dProblem problem = *this;
    problem.weight_is_packed = false;
    return problem;
  }
};

// The three tensors by their place in the forward pass, and which of them is written depends on the
// direction: fprop writes output, dgrad writes input, wgrad writes weight. bias is fprop's only: K
// contiguous elements of the problem's dtype, or null.
struct Conv2dTensors {
  void* input = nullptr;
  void* weight = nullptr;
  void* output = nullptr;
  const void* bias = nullptr;
  // fprop's only: the weight in the form that the algorithm at work made of it
  // (Algorithm::pack_weight), 64-byte aligned. `weight` holds the same values.
  const std::byte* packed_weight = nullptr;
};

// One max pooling. A backward may come without the window, whose four extents are zero then:
// indices are enough to compute it. indices, where there are any, lie exactly like output (same
// strides), as int64 into H x W.
struct Pool2dProblem {
  DType dtype;
  int64_t N, C, H, W;
  int64_t P, Q;
  Extent2 kernel, stride, pad, dilation;
  Strides4 input, output;
};

// forward reads input and writes output and, where it is not null, indices. backward reads the
// gradient of the output from `output` and indices, and writes the gradient of the input to
// `input`. Indices are int64 into the H x W plane and lie exactly like output. backward must check
// each index against the plane, or against its window where kernel says that it is known: where one
// lies outside it sets *index_out_of_range and touches no memory for it.
struct MaxPool2dTensors {
  void* input = nullptr;
  void* output = nullptr;
  int64_t* indices = nullptr;
  bool* index_out_of_range = nullptr;
};

}  // namespace fastconv
