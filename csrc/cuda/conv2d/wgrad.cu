#include "cuda/conv2d/entries.h"
#include "cuda/conv2d/launch_gemm.h"
#include "cuda/conv2d/wgrad.cuh"

namespace fastconv::cuda {
namespace {

struct Splits {
  int64_t count, depth;
};

int64_t weight_elements(const Conv2dProblem& p) { return p.K * p.group_in_channels() * p.R * p.S; }

int64_t accumulator_bytes(const Conv2dProblem& p) {
  return p.dtype == DType::f64 ? sizeof(double) : sizeof(float);
}

// Enough splits for two waves of blocks, none shorter than 1024 pixels (its sums cost a write and a
// read), and no more than 256 MiB of them.
Splits split(const Conv2dProblem& p, const Device& device) {
  constexpr int64_t kShortest = 1024, kMostBytes = int64_t{256} << 20;
  const int64_t depth = p.N * p.P * p.Q;
  const int64_t tiles = p.groups * ceil_divide(p.group_out_channels(), kTile) *
                        ceil_divide(p.group_in_channels() * p.R * p.S, kTile);
  const int64_t bytes = std::max<int64_t>(1, weight_elements(p) * accumulator_bytes(p));
  const int64_t wanted =
      std::min({ceil_divide(int64_t{2} * device.multiprocessors, std::max<int64_t>(1, tiles)),
                ceil_divide(depth, kShortest), kMostBytes / bytes});
  const int64_t chunks = ceil_divide(depth, kChunk);
  const int64_t split_depth =
      std::max<int64_t>(1, ceil_divide(chunks, std::max<int64_t>(1, wanted))) * kChunk;
  return {std::max<int64_t>(1, ceil_divide(depth, split_depth)), split_depth};
}

const char* takes_everything(const Conv2dProblem&, const Conv2dTensors&) { return nullptr; }

int64_t workspace(const Conv2dProblem& p, const Device& device) {
  return split(p, device).count * weight_elements(p) * accumulator_bytes(p);
}

void run(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace, const Queue& queue) {
  const Splits splits = split(p, queue.device);
  const int64_t elements = weight_elements(p);
  if (elements == 0) return;
  dispatch_types(p, [&](auto type, auto index) {
    using T = typename decltype(type)::type;
    using Index = typename decltype(index)::type;
    const Wgrad<T, Index> product(p, t, workspace, splits.count, splits.depth);
    launch_implicit_gemm("conv2d_wgrad_simt", product, p.groups * splits.count,
                         p.group_out_channels(), p.group_in_channels() * p.R * p.S, queue);
    launch("conv2d_wgrad_add_splits", add_splits<T, Index>,
           blocks_for(ceil_divide(elements, kReduceThreads)), kReduceThreads, 0, queue.stream,
           product.shape, product.sums, product.splits, product.channels_fastest,
           static_cast<T*>(t.weight));
  });
}

}  // namespace

const Conv2dAlgorithm conv2d_wgrad_simt = {
    {"conv2d_wgrad_cuda_simt", "conv2d", "wgrad", 80, kAllDTypes, kSimtError,
     "implicit GEMM on the ordinary cores, the pixels split over blocks and the splits added in "
     "order; workspace: one float32 (float64) weight gradient for each split, at most 256 MiB "
     "beyond the first"},
    takes_everything,
    workspace,
    run};

}  // namespace fastconv::cuda
