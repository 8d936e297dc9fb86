#include "cuda/conv2d/tensor_core_entry.h"
#include "cuda/conv2d/tensor_core_wgrad.cuh"
#include "cuda/conv2d/wgrad_splits.h"

namespace fastconv::cuda {
namespace {

// Longer sums would show that a tensor core truncates as it adds.
constexpr int64_t kLongestSplit = 32768;

struct Wgrad {
  static constexpr Reads kReads = Reads::wgrad;
  static constexpr const char* kName = "wgrad";

  static Splits split(const Conv2dProblem& p, const Device& device) {
    return split_pixels(p, device, TensorCoreTile::kSide, kLongestSplit);
  }
  static SumsLayout layout(const Conv2dProblem& read) {
    return {read.group_out_channels(), read.group_in_channels(), true};
  }

  static int64_t workspace(const Conv2dProblem& p, const Conv2dProblem& read,
                           const Device& device) {
    return sums_bytes(p, split(p, device), layout(read));
  }

  template <Grade grade>
  static void run(const Conv2dProblem& p, const Conv2dProblem& read, const Conv2dTensors& t,
                  std::byte* workspace, const Queue& queue) {
    const Splits splits = split(p, queue.device);
    dispatch_products<grade>(p.dtype, [&](auto type, auto products) {
      const TensorCoreWgrad<typename decltype(type)::type> product(read, t, workspace, splits.count,
                                                                   splits.depth);
      launch_tensor_core<typename decltype(products)::type>(
          "conv2d_wgrad_tensor_core", product, p.groups * splits.count, read.group_out_channels(),
          read.group_in_channels() * p.R * p.S, queue);
    });
    add_splits(p, splits, layout(read), workspace, t.weight, queue);
  }
};

template <Grade grade, bool copies>
using On = TensorCoreAlgorithm<Wgrad, grade, copies>;

}  // namespace

const Conv2dAlgorithm conv2d_wgrad_tensor_core = On<Grade::sixteen_bits, false>::entry(
    "conv2d_wgrad_cuda_tensor_core",
    "implicit GEMM by mma.sync on 16-bit elements, of channels_last tensors, by cp.async in three "
    "stages; workspace: one float32 weight gradient for each split");
const Conv2dAlgorithm conv2d_wgrad_tensor_core_tf32 = On<Grade::tf32, false>::entry(
    "conv2d_wgrad_cuda_tensor_core_tf32",
    "implicit GEMM by mma.sync on floats rounded to TF32, of channels_last tensors, by cp.async in "
    "three stages; workspace: one float32 weight gradient for each split");
const Conv2dAlgorithm conv2d_wgrad_tensor_core_split = On<Grade::split, false>::entry(
    "conv2d_wgrad_cuda_tensor_core_split",
    "implicit GEMM by mma.sync on floats as two TF32 terms and three products, to float32's own "
    "grade, of channels_last tensors, by cp.async in three stages; workspace: one float32 weight "
    "gradient for each split");
const Conv2dAlgorithm conv2d_wgrad_tensor_core_copied = On<Grade::sixteen_bits, true>::entry(
    "conv2d_wgrad_cuda_tensor_core_copied",
    "the same on copies of what does not lie so, their channels filled up; workspace: the copies "
    "and one float32 weight gradient for each split");
const Conv2dAlgorithm conv2d_wgrad_tensor_core_tf32_copied = On<Grade::tf32, true>::entry(
    "conv2d_wgrad_cuda_tensor_core_tf32_copied",
    "the same on copies of what does not lie so, their channels filled up; workspace: the copies "
    "and one float32 weight gradient for each split");
const Conv2dAlgorithm conv2d_wgrad_tensor_core_split_copied = On<Grade::split, true>::entry(
    "conv2d_wgrad_cuda_tensor_core_split_copied",
    "the same on copies of what does not lie so, their channels filled up; workspace: the copies "
    "and one float32 weight gradient for each split");

}  // namespace fastconv::cuda
