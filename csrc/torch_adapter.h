// What the operators need of torch, in one place: dtypes, shapes, layouts and allocation.
// Everything is from the stable ABI, so that one build serves every torch from 2.10 on.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "problem.h"
#include "validate.h"

namespace fastconv {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Sizes and strides of one tensor, fetched once: each is a call through the C ABI.
struct Shape {
  explicit Shape(const Tensor& tensor);
  Sizes sizes, strides;
  bool batched() const { return sizes.size() == 4; }
};

// The DType of a scalar type that the kernels know, or nothing.
std::optional<DType> dtype_of(ScalarType type);

// Throws unless the tensor is dense and on the current device of the backend: nothing else may
// reach its kernels.
void require_dense(const Tensor& tensor, const char* name);

// The kernels' dtype of a tensor; throws where they have none.
DType require_dtype(const Tensor& tensor, const char* op);

// (n, c, h, w) strides of a 4-D tensor, or of a 3-D one taken as a batch of one.
Strides4 strides_of(const Shape& shape);

// c10's rule: do these sizes and strides suggest channels_last? Size-1 dimensions are the trap;
// where they leave it open, the answer is no.
bool suggests_channels_last(const Shape& shape);

// On the current device of the backend (backend.h).
Tensor empty_tensor(Sizes sizes, ScalarType type, bool channels_last);

// The tensor itself where it lies so already, otherwise a copy.
Tensor laid_out(const Tensor& tensor, MemoryFormat format = MemoryFormat::Contiguous);

// Uninitialised 64-byte aligned scratch, freed with the object: from torch's allocator, or
// small ones on the CPU the one that the thread keeps.
class Workspace {
 public:
  explicit Workspace(int64_t bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  std::byte* data() const { return data_; }

 private:
  std::optional<Tensor> owner_;
  std::byte* data_ = nullptr;
};

}  // namespace fastconv
