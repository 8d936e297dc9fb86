#include <algorithm>

#include "cuda/launch_size.h"
#include "cuda/max_pool2d/backward_scatter.cuh"
#include "cuda/max_pool2d/entries.h"

namespace fastconv::cuda {
namespace {

const char* takes_everything(const Pool2dProblem&, const MaxPool2dTensors&) { return nullptr; }

// A few blocks for each multiprocessor; each needs a plane of sums.
int64_t blocks(const Pool2dProblem& p, const Device& device) {
  return std::min(p.N * p.C, int64_t{4} * device.multiprocessors);
}

int64_t workspace(const Pool2dProblem& p, const Device& device) {
  const int64_t accumulator_bytes = p.dtype == DType::f64 ? sizeof(double) : sizeof(float);
  return blocks(p, device) * p.H * p.W * accumulator_bytes;
}

void run(const Pool2dProblem& p, const MaxPool2dTensors& t, std::byte* workspace,
         const Queue& queue) {
  if (p.N * p.C == 0) return;
  dispatch_dtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using Accumulator = typename Element<T>::Accumulator;
    launch("max_pool2d_backward_scatter", max_pool2d_backward_scatter<T>,
           blocks_for(blocks(p, queue.device)), kScatterThreads, sizeof(ScatterShared<Accumulator>),
           queue.stream, PoolShape<int64_t>(p), static_cast<const T*>(t.output),
           static_cast<const int64_t*>(t.indices), reinterpret_cast<Accumulator*>(workspace),
           static_cast<T*>(t.input));
  });
}

}  // namespace

const MaxPool2dAlgorithm max_pool2d_backward_by_scatter = {
    {"max_pool2d_backward_cuda_scatter", "max_pool2d", "backward", 80, kAllDTypes, 0.0,
     "a scatter in the order of the output, from indices alone; workspace: one float32 (float64) "
     "plane for each of at most four blocks a multiprocessor"},
    takes_everything,
    workspace,
    run};

}  // namespace fastconv::cuda
