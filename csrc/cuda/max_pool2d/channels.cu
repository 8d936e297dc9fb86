#include "cuda/launch_size.h"
#include "cuda/max_pool2d/channels.cuh"
#include "cuda/max_pool2d/entries.h"

namespace fastconv::cuda {
namespace {

constexpr int64_t kPieceBytes = 16;

const char* reject_pieces(const Pool2dProblem& p, const MaxPool2dTensors& t) {
  const int64_t piece = kPieceBytes / size_of(p.dtype);
  const auto whole = [&](const Strides4& s) {
    return s.c == 1 && s.n % piece == 0 && s.h % piece == 0 && s.w % piece == 0;
  };
  if (p.C % piece != 0 || !whole(p.input) || !whole(p.output)) {
    return "needs channels_last tensors of whole 16-byte pieces of channels";
  }
  for (const void* data : {static_cast<const void*>(t.input), static_cast<const void*>(t.output),
                           static_cast<const void*>(t.indices)}) {
    if (reinterpret_cast<uintptr_t>(data) % kPieceBytes != 0) {
      return "needs tensors that start at a multiple of 16 bytes";
    }
  }
  return fits_int32(p) ? nullptr : "needs sizes below 2^30";
}

const char* reject_backward(const Pool2dProblem& p, const MaxPool2dTensors& t) {
  const char* reason = reason_against_gather(p);
  return reason != nullptr ? reason : reject_pieces(p, t);
}

int64_t no_workspace(const Pool2dProblem&, const Device&) { return 0; }

unsigned blocks_of(const Pool2dProblem& p, int64_t pixels) {
  const int64_t pieces = p.C / (kPieceBytes / size_of(p.dtype));
  return blocks_for(ceil_divide(p.N * pieces * pixels, kPoolThreads));
}

void run_forward(const Pool2dProblem& p, const MaxPool2dTensors& t, std::byte*,
                 const Queue& queue) {
  if (p.N * p.C == 0) return;
  dispatch_dtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    launch("max_pool2d_forward_channels", max_pool2d_forward_channels<T>, blocks_of(p, p.P * p.Q),
           kPoolThreads, 0, queue.stream, PoolShape<int32_t>(p), static_cast<const T*>(t.input),
           static_cast<T*>(t.output), t.indices);
  });
}

void run_backward(const Pool2dProblem& p, const MaxPool2dTensors& t, std::byte*,
                  const Queue& queue) {
  if (p.N * p.C == 0) return;
  dispatch_dtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    launch("max_pool2d_backward_channels", max_pool2d_backward_channels<T>, blocks_of(p, p.H * p.W),
           kPoolThreads, 0, queue.stream, PoolShape<int32_t>(p), static_cast<const T*>(t.output),
           static_cast<const int64_t*>(t.indices), static_cast<T*>(t.input));
  });
}

}  // namespace

const MaxPool2dAlgorithm max_pool2d_forward_channels_last = {
    {"max_pool2d_forward_cuda_channels", "max_pool2d", "forward", 80, kAllDTypes, 0.0,
     "one thread for each window and 16 bytes of channels, in channels_last; no workspace"},
    reject_pieces,
    no_workspace,
    run_forward};

const MaxPool2dAlgorithm max_pool2d_backward_channels_last = {
    {"max_pool2d_backward_cuda_channels", "max_pool2d", "backward", 80, kAllDTypes, 0.0,
     "one thread for each input cell and 16 bytes of channels asks the windows over it, in "
     "channels_last; no workspace"},
    reject_backward,
    no_workspace,
    run_backward};

}  // namespace fastconv::cuda
