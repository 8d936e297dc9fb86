#include "cuda/launch_size.h"
#include "cuda/max_pool2d/entries.h"
#include "cuda/max_pool2d/forward.cuh"

namespace fastconv::cuda {
namespace {

const char* takes_everything(const Pool2dProblem&, const MaxPool2dTensors&) { return nullptr; }
int64_t no_workspace(const Pool2dProblem&, const Device&) { return 0; }

template <class T, class Index>
void enqueue(const Pool2dProblem& p, const MaxPool2dTensors& t, const Queue& queue) {
  const int64_t cells = p.N * p.C * p.P * p.Q;
  if (cells == 0) return;
  launch("max_pool2d_forward", max_pool2d_forward<T, Index>,
         blocks_for(ceil_divide(cells, kPoolThreads)), kPoolThreads, 0, queue.stream,
         PoolShape<Index>(p), static_cast<const T*>(t.input), static_cast<T*>(t.output), t.indices);
}

void run(const Pool2dProblem& p, const MaxPool2dTensors& t, std::byte*, const Queue& queue) {
  dispatch_dtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    fits_int32(p) ? enqueue<T, int32_t>(p, t, queue) : enqueue<T, int64_t>(p, t, queue);
  });
}

}  // namespace

const MaxPool2dAlgorithm max_pool2d_forward_direct = {
    {"max_pool2d_forward_cuda_direct", "max_pool2d", "forward", 80, kAllDTypes, 0.0,
     "one thread for each window; no workspace"},
    takes_everything,
    no_workspace,
    run};

}  // namespace fastconv::cuda
