// The operators' backend of _cuda: the algorithms of csrc/cuda on torch's current stream. Nothing
// here waits for the device, and workspaces come from torch's allocator, so that a CUDA graph can
// capture every call.
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

#include "backend.h"
#include "cuda/algorithm.h"
#include "cuda/device.h"
#include "verbose.h"

namespace fastconv {

const torch::headeronly::DeviceType kBackendDevice = torch::headeronly::DeviceType::CUDA;
const char* const kBackendName = "current GPU";
const char* const kPrecisionSwitch = "cudnn";

using torch::stable::accelerator::DeviceGuard;

DeviceScope::DeviceScope(const Tensor& first) {
  if (first.defined() && first.device().type() == kBackendDevice) {
    guard_ = new DeviceGuard(first.get_device());
  }
}

DeviceScope::~DeviceScope() { delete static_cast<DeviceGuard*>(guard_); }

bool is_on_current_device(const Tensor& tensor) {
  return tensor.device().type() == kBackendDevice &&
         tensor.get_device() == torch::stable::accelerator::getCurrentDeviceIndex();
}

void prepare_memory(void*, int64_t) {}

namespace {

cuda::Queue current_queue(int device) {
  const auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    cuda::check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
    return value;
  };
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  return {{10 * attribute(cudaDevAttrComputeCapabilityMajor) +
               attribute(cudaDevAttrComputeCapabilityMinor),
           attribute(cudaDevAttrMultiProcessorCount)},
          static_cast<cudaStream_t>(stream)};
}

template <class List, class Problem, class Tensors>
void run(List list, const Problem& problem, const Tensors& tensors, std::string_view requested) {
  const int device = torch::stable::accelerator::getCurrentDeviceIndex();
  const cuda::Queue queue = current_queue(device);
  const auto& algorithm = cuda::select(list, problem, tensors, queue.device, requested);
  log_choice({algorithm.name, "device", device}, problem);
  // Freed while the launches may still be under way, as torch's own kernels do: the allocator hands
  // the memory out again in the order of the stream.
  const Workspace workspace(algorithm.workspace(problem, queue.device));
  algorithm.run(problem, tensors, workspace.data(), queue);
}

}  // namespace

void run_conv2d(ConvDirection direction, const Conv2dProblem& problem, const Conv2dTensors& tensors,
                std::string_view requested) {
  switch (direction) {
    case ConvDirection::fprop:
      return run(cuda::conv2d_fprop_algorithms(), problem, tensors, requested);
    case ConvDirection::dgrad:
      return run(cuda::conv2d_dgrad_algorithms(), problem, tensors, requested);
    case ConvDirection::wgrad:
      return run(cuda::conv2d_wgrad_algorithms(), problem, tensors, requested);
  }
}

void run_max_pool2d(PoolDirection direction, const Pool2dProblem& problem,
                    const MaxPool2dTensors& tensors, std::string_view requested) {
  run(direction == PoolDirection::forward ? cuda::max_pool2d_forward_algorithms()
                                          : cuda::max_pool2d_backward_algorithms(),
      problem, tensors, requested);
}

void run_bias_gradient(const Conv2dProblem& problem, const void* grad_output, void* grad_bias) {
  const int device = torch::stable::accelerator::getCurrentDeviceIndex();
  cuda::conv2d_bias_gradient(problem, grad_output, grad_bias, current_queue(device));
}

}  // namespace fastconv
