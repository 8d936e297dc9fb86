#include "cuda/conv2d/entries.h"
#include "cuda/conv2d/fprop_tensor_core.cuh"
#include "cuda/launch_size.h"

namespace fastconv::cuda {
namespace {

bool whole_pieces(const Strides4& s) {
  constexpr int64_t kPiece = TensorCoreTile::kPiece;
  return s.n % kPiece == 0 && s.h % kPiece == 0 && s.w % kPiece == 0;
}

bool aligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; }

const char* reject(const Conv2dProblem& p, const Conv2dTensors& t) {
  if (p.group_in_channels() == 0 || p.group_in_channels() % TensorCoreTile::kPiece != 0) {
    return "needs a multiple of 8 channels in a group";
  }
  if (p.input.c != 1 || p.weight.c != 1) {
    return "needs the channels of input and weight side by side (channels_last)";
  }
  if (!whole_pieces(p.input) || !whole_pieces(p.weight) || !aligned(t.input) ||
      !aligned(t.weight)) {
    return "needs every pixel of input and weight to start at a multiple of 16 bytes";
  }
  if (!fits_int32(p)) return "needs sizes below 2^30";
  return nullptr;
}

int64_t no_workspace(const Conv2dProblem&, const Device&) { return 0; }

template <class T>
void enqueue(const Conv2dProblem& p, const Conv2dTensors& t, const Queue& queue) {
  const int64_t row_tiles = ceil_divide(p.N * p.P * p.Q, TensorCoreTile::kRows);
  const int64_t column_tiles = ceil_divide(p.group_out_channels(), TensorCoreTile::kColumns);
  if (row_tiles == 0) return;
  const FpropOperands<T> operands{ConvShape<int32_t>(p), static_cast<const T*>(t.input),
                                  static_cast<const T*>(t.weight), static_cast<const T*>(t.bias),
                                  static_cast<T*>(t.output)};
  launch("conv2d_fprop_tensor_core", fprop_tensor_core<T>,
         blocks_for(p.groups * row_tiles * column_tiles), TensorCoreTile::kThreads,
         sizeof(TensorCoreShared<T>), queue.stream, operands, static_cast<int32_t>(row_tiles),
         static_cast<int32_t>(column_tiles));
}

void run(const Conv2dProblem& p, const Conv2dTensors& t, std::byte*, const Queue& queue) {
  p.dtype == DType::bf16 ? enqueue<bfloat16>(p, t, queue) : enqueue<float16>(p, t, queue);
}

}  // namespace

const Conv2dAlgorithm conv2d_fprop_tensor_core = {
    {"conv2d_fprop_cuda_tensor_core", "conv2d", "fprop", 80, only(DType::bf16) | only(DType::f16),
     kSimtError,
     "implicit GEMM by mma.sync on channels_last tensors, operands by cp.async in three stages; no "
     "workspace"},
    reject,
    no_workspace,
    run};

}  // namespace fastconv::cuda
