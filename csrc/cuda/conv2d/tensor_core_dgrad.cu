#include "cuda/conv2d/tensor_core_dgrad.cuh"
#include "cuda/conv2d/tensor_core_entry.h"

namespace fastconv::cuda {
namespace {

struct Dgrad {
  static constexpr Reads kReads = Reads::dgrad;
  static constexpr const char* kName = "dgrad";

  static int64_t workspace(const Conv2dProblem&, const Conv2dProblem&, const Device&) { return 0; }

  template <Grade grade>
  static void run(const Conv2dProblem& p, const Conv2dProblem& read, const Conv2dTensors& t,
                  std::byte*, const Queue& queue) {
    dispatch_products<grade>(p.dtype, [&](auto type, auto products) {
      const TensorCoreDgrad<typename decltype(type)::type> product(p, read, t);
      launch_tensor_core<typename decltype(products)::type>("conv2d_dgrad_tensor_core", product,
                                                            product.parts(), product.most_rows(),
                                                            p.group_in_channels(), queue);
    });
  }
};

template <Grade grade, bool copies>
using On = TensorCoreAlgorithm<Dgrad, grade, copies>;

}  // namespace

const Conv2dAlgorithm conv2d_dgrad_tensor_core = On<Grade::sixteen_bits, false>::entry(
    "conv2d_dgrad_cuda_tensor_core",
    "implicit GEMM by mma.sync on 16-bit elements, of channels_last tensors, by cp.async in three "
    "stages; no workspace");
const Conv2dAlgorithm conv2d_dgrad_tensor_core_tf32 = On<Grade::tf32, false>::entry(
    "conv2d_dgrad_cuda_tensor_core_tf32",
    "implicit GEMM by mma.sync on floats rounded to TF32, of channels_last tensors, by cp.async in "
    "three stages; no workspace");
const Conv2dAlgorithm conv2d_dgrad_tensor_core_split = On<Grade::split, false>::entry(
    "conv2d_dgrad_cuda_tensor_core_split",
    "implicit GEMM by mma.sync on floats as two TF32 terms and three products, to float32's own "
    "grade, of channels_last tensors, by cp.async in three stages; no workspace");
const Conv2dAlgorithm conv2d_dgrad_tensor_core_copied = On<Grade::sixteen_bits, true>::entry(
    "conv2d_dgrad_cuda_tensor_core_copied",
    "the same on copies of what does not lie so, their channels filled up; workspace: the copies");
const Conv2dAlgorithm conv2d_dgrad_tensor_core_tf32_copied = On<Grade::tf32, true>::entry(
    "conv2d_dgrad_cuda_tensor_core_tf32_copied",
    "the same on copies of what does not lie so, their channels filled up; workspace: the copies");
const Conv2dAlgorithm conv2d_dgrad_tensor_core_split_copied = On<Grade::split, true>::entry(
    "conv2d_dgrad_cuda_tensor_core_split_copied",
    "the same on copies of what does not lie so, their channels filled up; workspace: the copies");

}  // namespace fastconv::cuda
