#include "torch_adapter.h"

#include <algorithm>
#include <memory>
#include <new>

#include "backend.h"
#include "message.h"

namespace fastconv {
namespace {

[[noreturn]] void throw_no_memory(const char* what, Sizes sizes, ScalarType type) {
  std::ostringstream message;
  message << "fastconv: can't allocate memory for " << what << " of size " << sizes << " and dtype "
          << torch::headeronly::toString(type);
  throw std::runtime_error(message.str());
}

// Not through the dispatcher (torch::stable::empty): that took 8 000 instructions, a tenth of a
// tiny convolution. The C ABI drops the text of torch's own error.
Tensor allocate(Sizes sizes, Sizes strides, ScalarType type, const char* what) {
  constexpr int32_t kCurrentDevice = -1;
  AtenTensorHandle handle;
  const AOTITorchError error = aoti_torch_empty_strided(
      static_cast<int64_t>(sizes.size()), sizes.data(), strides.data(),
      torch::stable::detail::to<int32_t>(torch::stable::detail::from(type)),
      torch::stable::detail::to<int32_t>(torch::stable::detail::from(kBackendDevice)),
      kCurrentDevice, &handle);
  if (error != AOTI_TORCH_SUCCESS) throw_no_memory(what, sizes, type);
  Tensor tensor(handle);
  prepare_memory(tensor.mutable_data_ptr(),
                 tensor.numel() * static_cast<int64_t>(tensor.element_size()));
  return tensor;
}

}  // namespace

Shape::Shape(const Tensor& tensor) {
  const auto size_list = tensor.sizes();
  sizes = {size_list.data(), size_list.size()};
  int64_t* stride_list;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_strides(tensor.get(), &stride_list));
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

Tensor laid_out(const Tensor& tensor, MemoryFormat format) {
  try {
    return torch::stable::contiguous(tensor, format);
  } catch (const std::exception&) {
    throw_no_memory("a copy of a tensor", Shape(tensor).sizes, tensor.scalar_type());
  }
}

Tensor empty_tensor(Sizes sizes, ScalarType type, bool channels_last) {
  constexpr size_t kMaxRank = 4;
  require(sizes.size() <= kMaxRank, "Expected at most 4 dimensions, but got size ", sizes);
  const size_t rank = sizes.size();
  int64_t strides[kMaxRank];
  if (channels_last) {
    const Sizes planes = sizes.last(3);
    strides[rank - 3] = 1;
    strides[rank - 1] = planes[0];
    strides[rank - 2] = planes[0] * planes[2];
    if (rank == kMaxRank) strides[0] = planes[0] * planes[1] * planes[2];
  } else {
    int64_t stride = 1;
    for (size_t d = rank; d-- > 0;) {
      strides[d] = stride;
      stride *= std::max<int64_t>(sizes[d], 1);
    }
  }
  return allocate(sizes, {strides, rank}, type, "a tensor");
}

namespace {

// One small workspace that a thread keeps between its calls: an allocation of this size may go to
// the kernel and back every time (glibc trims its heap), which costs more than a tiny convolution.
struct KeptWorkspace {
  static constexpr int64_t kBytes = 256 << 10;
  struct Free {
    void operator()(std::byte* memory) const { operator delete(memory, std::align_val_t{64}); }
  };
  std::unique_ptr<std::byte, Free> memory;
  bool in_use = false;

  std::byte* take() {
    if (memory == nullptr) {
      memory.reset(static_cast<std::byte*>(operator new(kBytes, std::align_val_t{64})));
    }
    in_use = true;
    return memory.get();
  }
};
thread_local KeptWorkspace kept_workspace;

}  // namespace

Workspace::Workspace(int64_t bytes) {
  if (bytes == 0) return;
  const bool small = bytes <= KeptWorkspace::kBytes;
  if (small && kBackendDevice == torch::headeronly::DeviceType::CPU && !kept_workspace.in_use) {
    data_ = kept_workspace.take();
    return;
  }
  constexpr int64_t kAlignment = 64;  // torch's allocators give no less, but promise nothing
  const int64_t padded = bytes + kAlignment, stride = 1;
  owner_ = allocate({&padded, 1}, {&stride, 1}, ScalarType::Byte, "a workspace");
  void* start = owner_->mutable_data_ptr();
  size_t space = static_cast<size_t>(padded);
  data_ = static_cast<std::byte*>(std::align(kAlignment, static_cast<size_t>(bytes), start, space));
}

Workspace::~Workspace() {
  if (data_ != nullptr && !owner_) kept_workspace.in_use = false;
}

}  // namespace fastconv
