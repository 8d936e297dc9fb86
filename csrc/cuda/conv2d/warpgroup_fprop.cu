#include "cuda/conv2d/tensor_core_operands.h"
#include "cuda/conv2d/warpgroup_product.h"

namespace fastconv::cuda {
namespace {

const char* reject(const Conv2dProblem& p, const Conv2dTensors& t) {
  if (const char* reason = reason_against_in_place(p, t, Reads::fprop)) return reason;
  return warpgroup_reject(p);
}

int64_t workspace(const Conv2dProblem&, const Device&) { return 0; }

void run(const Conv2dProblem& p, const Conv2dTensors& t, std::byte*, const Queue& queue) {
  launch_warpgroup_product("conv2d_fprop_warpgroup", p, t, queue);
}

}  // namespace

const Conv2dAlgorithm conv2d_fprop_warpgroup = {
    {"conv2d_fprop_cuda_warpgroup", "conv2d", "fprop", 90, only(DType::bf16) | only(DType::f16),
     kSimtError,
     "implicit GEMM by wgmma on 16-bit elements, of channels_last tensors in one group, brought by "
     "the Tensor Memory Accelerator; by name alone until it has run on a GPU; no workspace"},
    reject,
    workspace,
    run,
    warpgroup_reject_device,
    warpgroup_worthwhile};

}  // namespace fastconv::cuda
