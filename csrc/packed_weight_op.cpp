#include "packed_weight_op.h"

#include <bit>
#include <cstring>

#include "backend.h"
#include "checked.h"
#include "conv2d_op.h"
#include "cpu/conv2d/algorithms.h"
#include "cpu/fingerprint.h"
#include "cpu_pool.h"
#include "message.h"
#include "verbose.h"

namespace fastconv {
namespace {

// In front of the packed weight. A blob from another build, or of other sizes, is refused: what
// follows it is only as long as its own weight needs.
struct alignas(64) Header {
  char magic[16];
  char algorithm[64];
  int64_t dtype, K, group_in_channels, R, S, groups;
};
constexpr char kMagic[16] = "fastconv packed";

Header header_of(const cpu::Conv2dAlgorithm& algorithm, const Conv2dProblem& p) {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  std::strncpy(header.algorithm, algorithm.name, sizeof header.algorithm - 1);
  header.dtype = static_cast<int64_t>(p.dtype);
  header.K = p.K;
  header.group_in_channels = p.group_in_channels();
  header.R = p.R;
  header.S = p.S;
  header.groups = p.groups;
  return header;
}

Header read_header(const Tensor& packed) {
  require_dense(packed, "packed");
  Header header{};
  const Shape shape(packed);
  const bool bytes = packed.scalar_type() == ScalarType::Byte && shape.sizes.size() == 1 &&
                     shape.sizes[0] > static_cast<int64_t>(sizeof header) && shape.strides[0] == 1;
  if (bytes) std::memcpy(&header, packed.const_data_ptr(), sizeof header);
  require(bytes && std::memcmp(header.magic, kMagic, sizeof kMagic) == 0,
          "Expected packed to be a result of conv2d_pack_weight");
  header.algorithm[sizeof header.algorithm - 1] = '\0';
  return header;
}

const cpu::Conv2dAlgorithm& algorithm_of(const Header& header) {
  for (const cpu::Conv2dAlgorithm* algorithm : cpu::conv2d_fprop_algorithms()) {
    const bool packs = algorithm->packed_weight_bytes != nullptr;
    if (packs && std::strcmp(algorithm->name, header.algorithm) == 0) return *algorithm;
  }
  throw std::runtime_error(
      "fastconv: packed was made by an algorithm that this build does not have");
}

int64_t packed_bytes(const cpu::Conv2dAlgorithm& algorithm, const Conv2dProblem& problem) {
  return algorithm.packed_weight_bytes == nullptr ? 0 : algorithm.packed_weight_bytes(problem);
}

Strides4 dense_strides(int64_t C, int64_t H, int64_t W, bool channels_last) {
  if (channels_last) return {H * W * C, 1, W * C, C};
  return {C * H * W, H * W, W, 1};
}

}  // namespace

Tensor conv2d_pack_weight(const Tensor& weight, const std::vector<int64_t>& input_size,
                          const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                          const std::vector<int64_t>& dilation, int64_t groups, bool channels_last,
                          const Text& algorithm) {
  require_dense(weight, "weight");
  const Shape weight_shape(weight);
  const DType dtype = require_dtype(weight, "conv2d_pack_weight");
  Conv2dProblem problem = conv2d_problem(dtype, input_size, weight_shape.sizes, nullptr,
                                         {stride, padding, dilation, groups});
  problem.input = dense_strides(problem.C, problem.H, problem.W, channels_last);
  problem.weight = strides_of(weight_shape);
  problem.output = dense_strides(problem.K, problem.P, problem.Q, channels_last);
  problem.precision = precision_of(dtype);
  problem.weight_is_packed = true;

  const cpu::Parallel pool = torch_pool(multiply_adds(problem));
  const auto& chosen =
      cpu::select(cpu::conv2d_fprop_algorithms(), problem, pool.threads(), algorithm);
  const int64_t bytes = packed_bytes(chosen, problem);
  const int64_t size = bytes == 0 ? 0 : static_cast<int64_t>(sizeof(Header)) + bytes;
  Tensor packed = empty_tensor({&size, 1}, ScalarType::Byte, false);
  if (size == 0) return packed;
  std::byte* const at = static_cast<std::byte*>(packed.mutable_data_ptr());
  const Header header = header_of(chosen, problem);
  std::memcpy(at, &header, sizeof header);
  Conv2dTensors tensors;
  tensors.weight = const_cast<void*>(weight.const_data_ptr());
  chosen.pack_weight(problem, tensors, at + sizeof header, pool);
  return packed;
}

namespace {

Tensor run_packed(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                  const Tensor& packed, const Conv2dParams& params) {
  Fprop fprop = prepare_fprop(input, weight, bias, params);
  fprop.problem.weight_is_packed = true;
  const Header header = read_header(packed);
  const auto& algorithm = algorithm_of(header);
  const Header expected = header_of(algorithm, fprop.problem);
  const auto has_its_size = [&] {
    // Of a problem that is not for the algorithm there is no size; run_conv2d says why.
    if (algorithm.reject(fprop.problem) != nullptr) return true;
    return packed.numel() ==
           static_cast<int64_t>(sizeof header) + packed_bytes(algorithm, fprop.problem);
  };
  require(std::memcmp(&header, &expected, sizeof header) == 0 && has_its_size(),
          "Expected packed to be the result of conv2d_pack_weight for this weight");
  const std::byte* const at = static_cast<const std::byte*>(packed.const_data_ptr());
  require(reinterpret_cast<uintptr_t>(at) % 64 == 0, "Expected packed to be 64-byte aligned");
  fprop.tensors.packed_weight = at + sizeof header;
  // By its name: the algorithm that is right for the packed weight, or an error that says why not.
  run_conv2d(ConvDirection::fprop, fprop.problem, fprop.tensors, algorithm.name);
  return std::move(fprop.output);
}

}  // namespace

Tensor conv2d_packed(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                     const Tensor& packed, const std::vector<int64_t>& stride,
                     const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation,
                     int64_t groups) {
  return run_packed(input, weight, bias, packed, {stride, padding, dilation, groups});
}

Tensor conv2d_packed_eager(const Tensor& input, const Tensor& weight,
                           const std::optional<Tensor>& bias, const Tensor& packed,
                           int64_t stride_h, int64_t stride_w, int64_t pad_h, int64_t pad_w,
                           int64_t dilation_h, int64_t dilation_w, int64_t groups) {
  const Geometry geometry{{stride_h, stride_w}, {pad_h, pad_w}, {dilation_h, dilation_w}, groups};
  return run_packed(input, weight, bias, packed, geometry.params());
}

int64_t weight_fingerprint(const Tensor& weight) {
  require_dense(weight, "weight");
  const Shape shape(weight);
  int64_t last = 0;
  for (size_t d = 0; d < shape.sizes.size(); ++d) {
    last = checked_add(last, checked_mul(shape.sizes[d] - 1, shape.strides[d], "weight"), "weight");
  }
  const int64_t count = weight.numel();
  require(count == 0 || last == count - 1, "Expected weight to be a tensor without gaps");
  const DType dtype = require_dtype(weight, "weight_fingerprint");
  const int64_t bytes = count * size_of(dtype);
  // In the operations of a convolution a byte counts for about eight.
  return std::bit_cast<int64_t>(
      cpu::fingerprint(static_cast<const std::byte*>(weight.const_data_ptr()), bytes,
                       torch_pool(static_cast<double>(bytes) / 8)));
}

std::string conv2d_packed_algorithm(const Tensor& packed) {
  return algorithm_of(read_header(packed)).name;
}

}  // namespace fastconv
