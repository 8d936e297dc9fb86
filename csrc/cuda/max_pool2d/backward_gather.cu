#include "cuda/launch_size.h"
#include "cuda/max_pool2d/backward_gather.cuh"
#include "cuda/max_pool2d/entries.h"

namespace fastconv::cuda {

const char* reason_against_gather(const Pool2dProblem& p) {
  if (p.kernel.h == 0 || p.kernel.w == 0) return "needs the window that made the indices";
  // The index of a window wholly in the padding names a cell that the window does not hold.
  if (p.dilation.h > p.H || p.dilation.w > p.W) return "a window may lie wholly in the padding";
  return nullptr;
}

namespace {

const char* reject(const Pool2dProblem& p, const MaxPool2dTensors&) {
  return reason_against_gather(p);
}

int64_t no_workspace(const Pool2dProblem&, const Device&) { return 0; }

template <class T, class Index>
void enqueue(const Pool2dProblem& p, const MaxPool2dTensors& t, const Queue& queue) {
  const int64_t cells = p.N * p.C * p.H * p.W;
  if (cells == 0) return;
  launch("max_pool2d_backward_gather", max_pool2d_backward_gather<T, Index>,
         blocks_for(ceil_divide(cells, kPoolThreads)), kPoolThreads, 0, queue.stream,
         PoolShape<Index>(p), static_cast<const T*>(t.output),
         static_cast<const int64_t*>(t.indices), static_cast<T*>(t.input));
}

void run(const Pool2dProblem& p, const MaxPool2dTensors& t, std::byte*, const Queue& queue) {
  dispatch_dtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    fits_int32(p) ? enqueue<T, int32_t>(p, t, queue) : enqueue<T, int64_t>(p, t, queue);
  });
}

}  // namespace

const MaxPool2dAlgorithm max_pool2d_backward_by_gather = {
    {"max_pool2d_backward_cuda_gather", "max_pool2d", "backward", 80, kAllDTypes, 0.0,
     "one thread for each input cell asks the windows over it; no workspace"},
    reject,
    no_workspace,
    run};

}  // namespace fastconv::cuda
