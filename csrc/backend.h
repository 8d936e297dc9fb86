// The device that a library's operators run on, as far as they must know it. The operators are one
// source in two libraries: _C links cpu_backend.cpp behind this header, _cuda links
// cuda/backend.cu.
#pragma once

#include <string_view>

#include "problem.h"
#include "torch_adapter.h"

namespace fastconv {

extern const torch::headeronly::DeviceType kBackendDevice;
extern const char* const kBackendName;      // as a person calls it
extern const char* const kPrecisionSwitch;  // where torch.backends keeps its fp32_precision

enum class ConvDirection { fprop, dgrad, wgrad };
enum class PoolDirection { forward, backward };

// Makes the device of an operator's first tensor the current one while it lives.
class DeviceScope {
 public:
  explicit DeviceScope(const Tensor& first);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;

 private:
  void* guard_ = nullptr;
};

bool is_on_current_device(const Tensor& tensor);

// Called once for the memory of every tensor that an operator allocates, before it is written.
void prepare_memory(void* memory, int64_t bytes);

// Select from the direction's list, log, allocate the stated workspace, run.
void run_conv2d(ConvDirection direction, const Conv2dProblem& problem, const Conv2dTensors& tensors,
                std::string_view requested);
void run_max_pool2d(PoolDirection direction, const Pool2dProblem& problem,
                    const MaxPool2dTensors& tensors, std::string_view requested);
void run_bias_gradient(const Conv2dProblem& problem, const void* grad_output, void* grad_bias);

}  // namespace fastconv
