// dgrad of unit stride on warpgroup_fprop.cuh: the gradient of the output takes the image's place
// and a turned copy of the weight the weight's. Like that kernel it has not run on a GPU yet.
#include "cuda/conv2d/tensor_core_operands.h"
#include "cuda/conv2d/warpgroup_dgrad.cuh"
#include "cuda/conv2d/warpgroup_product.h"
#include "cuda/launch_size.h"

namespace fastconv::cuda {
namespace {

// The convolution that gives the gradient of the input.
Conv2dProblem turned(const Conv2dProblem& p) {
  Conv2dProblem t = p;
  t.C = p.K;
  t.K = p.C;
  t.H = p.P;
  t.W = p.Q;
  t.P = p.H;
  t.Q = p.W;
  t.pad = {(p.R - 1) * p.dilation.h - p.pad.h, (p.S - 1) * p.dilation.w - p.pad.w};
  t.input = p.output;
  t.output = p.input;
  t.weight = {p.R * p.S * p.K, 1, p.S * p.K, p.K};
  return t;
}

const char* reject(const Conv2dProblem& p, const Conv2dTensors& t) {
  if (p.stride.h != 1 || p.stride.w != 1) return "needs unit strides";
  if (const char* reason = reason_against_in_place(p, t, Reads::dgrad)) return reason;
  return warpgroup_reject(turned(p));
}

bool worthwhile(const Conv2dProblem& p, const Device& device) {
  return warpgroup_worthwhile(turned(p), device);
}

int64_t workspace(const Conv2dProblem& p, const Device&) {
  return p.K * p.C * p.R * p.S * size_of(p.dtype);
}

void run(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace, const Queue& queue) {
  const Conv2dProblem product = turned(p);
  if (p.N * p.H * p.W == 0) return;
  const int64_t tiles = p.R * p.S * ceil_divide(p.K, kTurnSide) * ceil_divide(p.C, kTurnSide);
  // 16-bit elements of either kind are moved alike.
  launch("conv2d_dgrad_turn_weight", turn_weight<bfloat16>, blocks_for(tiles), kTurnThreads,
         sizeof(TurnShared<bfloat16>), queue.stream, ConvShape<int32_t>(p),
         static_cast<const bfloat16*>(t.weight), reinterpret_cast<bfloat16*>(workspace));
  Conv2dTensors operands;
  operands.input = t.output;
  operands.weight = workspace;
  operands.output = t.input;
  launch_warpgroup_product("conv2d_dgrad_warpgroup", product, operands, queue);
}

}  // namespace

const Conv2dAlgorithm conv2d_dgrad_warpgroup = {
    {"conv2d_dgrad_cuda_warpgroup", "conv2d", "dgrad", 90, only(DType::bf16) | only(DType::f16),
     kSimtError,
     "implicit GEMM by wgmma on 16-bit elements, of channels_last tensors in one group and unit "
     "strides, brought by the Tensor Memory Accelerator; by name alone until it has run on a "
     "GPU; workspace: the weight, turned round"},
    reject,
    workspace,
    run,
    warpgroup_reject_device,
    worthwhile};

}  // namespace fastconv::cuda
