#include "cuda/conv2d/entries.h"
#include "cuda/conv2d/launch_gemm.h"
#include "cuda/conv2d/wgrad.cuh"
#include "cuda/conv2d/wgrad_splits.h"

namespace fastconv::cuda {
namespace {

const char* takes_everything(const Conv2dProblem&, const Conv2dTensors&) { return nullptr; }

// Sums are kept in chunks: no split is too long for their error.
Splits split(const Conv2dProblem& p, const Device& device) {
  return split_pixels(p, device, kTile, std::numeric_limits<int64_t>::max() / 2);
}

SumsLayout layout(const Conv2dProblem& p) {
  return {p.group_out_channels(), p.group_in_channels(), p.input.c == 1};
}

int64_t workspace(const Conv2dProblem& p, const Device& device) {
  return sums_bytes(p, split(p, device), layout(p));
}

void run(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace, const Queue& queue) {
  const Splits splits = split(p, queue.device);
  dispatch_types(p, [&](auto type, auto index) {
    const Wgrad<typename decltype(type)::type, typename decltype(index)::type> product(
        p, t, workspace, splits.count, splits.depth);
    launch_implicit_gemm("conv2d_wgrad_simt", product, p.groups * splits.count,
                         p.group_out_channels(), p.group_in_channels() * p.R * p.S, queue);
  });
  add_splits(p, splits, layout(p), workspace, t.weight, queue);
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
