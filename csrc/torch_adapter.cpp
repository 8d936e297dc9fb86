#include "torch_adapter.h"

#include <memory>

#include "backend.h"
#include "message.h"

namespace fastconv {
namespace {

// The C ABI drops the text of torch's own error.
Tensor allocate(Sizes sizes, ScalarType type, MemoryFormat format, const char* what) {
  try {
    return torch::stable::empty({sizes.data(), sizes.size()}, type, std::nullopt,
                                torch::stable::Device(kBackendDevice), std::nullopt, format);
  } catch (const std::runtime_error&) {
    std::ostringstream message;
    message << "fastconv: can't allocate memory for " << what << " of size " << sizes
            << " and dtype " << torch::headeronly::toString(type);
    throw std::runtime_error(message.str());
  }
}

}  // namespace

Shape::Shape(const Tensor& tensor) {
  const auto size_list = tensor.sizes();
  sizes = {size_list.data(), size_list.size()};
  int64_t* stride_list;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_strides(tensor.get(), &stride_list));
  strides = {stride_list, sizes.size()};
}

std::optional<DType> dtype_of(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return DType::f32;
    case ScalarType::Double:
      return DType::f64;
    case ScalarType::BFloat16:
      return DType::bf16;
    case ScalarType::Half:
      return DType::f16;
    default:
      return std::nullopt;
  }
}

void require_dense(const Tensor& tensor, const char* name) {
  require(tensor.defined(), "Expected ", name, " to be a defined tensor");
  require(tensor.layout() == torch::headeronly::Layout::Strided, "Expected ", name,
          " to be a dense (strided) tensor");
  require(is_on_current_device(tensor), "Expected all tensors to be on the same device, but ", name,
          " is not on the ", kBackendName);
}

DType require_dtype(const Tensor& tensor, const char* op) {
  const std::optional<DType> dtype = dtype_of(tensor.scalar_type());
  require(dtype.has_value(), "fastconv::", op, " has no kernel for dtype ",
          torch::headeronly::toString(tensor.scalar_type()));
  return *dtype;
}

Strides4 strides_of(const Shape& shape) {
  const Sizes s = shape.strides;
  if (shape.batched()) return {s[0], s[1], s[2], s[3]};
  return {0, s[0], s[1], s[2]};
}

bool suggests_channels_last(const Shape& shape) {
  const Sizes sizes = shape.sizes, s = shape.strides;
  const size_t first = shape.batched() ? 1 : 0;
  const int64_t extent[] = {shape.batched() ? sizes[0] : 1, sizes[first], sizes[first + 1],
                            sizes[first + 2]};
  const int64_t stride[] = {shape.batched() ? s[0] : s[0] * extent[1], s[first], s[first + 1],
                            s[first + 2]};
  if (stride[1] == 0) return false;
  int64_t least = 0;
  for (size_t d : {1, 3, 2, 0}) {
    if (extent[d] == 0 || stride[d] < least) return false;
    // An N x 1 x 1 x 1 tensor whose strides are all alike says nothing.
    if (d == 0 && least == stride[1]) return false;
    least = stride[d];
    if (extent[d] > 1) least *= extent[d];
  }
  return true;
}

Tensor empty_tensor(Sizes sizes, ScalarType type, bool channels_last) {
  const auto empty = [&](Sizes shape, MemoryFormat format) {
    return allocate(shape, type, format, "a tensor");
  };
  if (!channels_last) return empty(sizes, MemoryFormat::Contiguous);
  if (sizes.size() == 4) return empty(sizes, MemoryFormat::ChannelsLast);
  const int64_t batch_of_one[] = {1, sizes[0], sizes[1], sizes[2]};
  return torch::stable::squeeze(empty(batch_of_one, MemoryFormat::ChannelsLast), 0);
}

Workspace::Workspace(int64_t bytes) {
  if (bytes == 0) return;
  constexpr int64_t kAlignment = 64;  // torch's allocators give no less, but promise nothing
  const int64_t padded = bytes + kAlignment;
  owner_ = allocate({&padded, 1}, ScalarType::Byte, MemoryFormat::Contiguous, "a workspace");
  void* start = owner_->mutable_data_ptr();
  size_t space = static_cast<size_t>(padded);
  data_ = static_cast<std::byte*>(std::align(kAlignment, static_cast<size_t>(bytes), start, space));
}

}  // namespace fastconv
