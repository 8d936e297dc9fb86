// Runs one algorithm of csrc/cuda on the emulator: host tensors in, copies between guard pages for
// the kernels, results back.
#include <cstring>
#include <exception>
#include <memory>
#include <string_view>

#include "cuda/algorithm.h"
#include "driver.h"
#include "runtime.h"

namespace fastconv::cuda {
// specimens.cu
void run_specimen(const char* kernel, const char* fault, const void* a, const void* b, float* c,
                  int depth, bool b_by_depth, cudaStream_t stream);
}  // namespace fastconv::cuda

namespace {

using namespace fastconv;
using cuda_emulation::GuardedBytes;

enum class Role : int64_t { absent, read, written };

// A tensor's memory on the host, from its first element to its last.
struct HostTensor {
  void* data;
  int64_t bytes;
  Role role;
};

// Its copy in the emulated device's memory.
class DeviceTensor {
 public:
  explicit DeviceTensor(const HostTensor& host)
      : host_(host), bytes_(static_cast<size_t>(host.bytes)) {
    if (host.role == Role::absent) return;
    std::memcpy(bytes_.data(), host.data, bytes_.size());
    cuda_emulation::shadow_add_global(bytes_.data(), bytes_.size(), host.role == Role::read);
  }
  ~DeviceTensor() { cuda_emulation::shadow_remove_global(bytes_.data()); }
  DeviceTensor(const DeviceTensor&) = delete;

  void* data() const { return host_.role == Role::absent ? nullptr : bytes_.data(); }
  void copy_back() const {
    if (host_.role == Role::written) std::memcpy(host_.data, bytes_.data(), bytes_.size());
  }

 private:
  HostTensor host_;
  GuardedBytes bytes_;
};

Strides4 strides4(const int64_t*& numbers) {
  const Strides4 strides{numbers[0], numbers[1], numbers[2], numbers[3]};
  numbers += 4;
  return strides;
}

Extent2 extent2(const int64_t*& numbers) {
  const Extent2 extent{numbers[0], numbers[1]};
  numbers += 2;
  return extent;
}

Conv2dProblem conv2d_problem(DType dtype, const int64_t* numbers) {
  Conv2dProblem p{};
  p.dtype = dtype;
  for (int64_t* field : {&p.N, &p.C, &p.H, &p.W, &p.K, &p.R, &p.S, &p.P, &p.Q, &p.groups}) {
    *field = *numbers++;
  }
  p.stride = extent2(numbers);
  p.pad = extent2(numbers);
  p.dilation = extent2(numbers);
  p.input = strides4(numbers);
  p.weight = strides4(numbers);
  p.output = strides4(numbers);
  return p;
}

Pool2dProblem pool2d_problem(DType dtype, const int64_t* numbers) {
  Pool2dProblem p{};
  p.dtype = dtype;
  for (int64_t* field : {&p.N, &p.C, &p.H, &p.W, &p.P, &p.Q}) *field = *numbers++;
  p.kernel = extent2(numbers);
  p.stride = extent2(numbers);
  p.pad = extent2(numbers);
  p.dilation = extent2(numbers);
  p.input = strides4(numbers);
  p.output = strides4(numbers);
  return p;
}

cuda::Conv2dList conv2d_list(std::string_view direction) {
  if (direction == "fprop") return cuda::conv2d_fprop_algorithms();
  if (direction == "dgrad") return cuda::conv2d_dgrad_algorithms();
  if (direction == "wgrad") return cuda::conv2d_wgrad_algorithms();
  throw std::runtime_error("no such direction");
}

cuda::MaxPool2dList pool_list(std::string_view direction) {
  if (direction == "forward") return cuda::max_pool2d_forward_algorithms();
  if (direction == "backward") return cuda::max_pool2d_backward_algorithms();
  throw std::runtime_error("no such direction");
}

template <class List, class Problem, class Tensors>
void run(List list, const Problem& problem, const Tensors& tensors, std::string_view algorithm,
         int multiprocessors) {
  const cuda::Queue queue{{90, multiprocessors}, nullptr};
  const auto& chosen = cuda::select(list, problem, tensors, queue.device, algorithm);
  const GuardedBytes workspace(static_cast<size_t>(chosen.workspace(problem, queue.device)));
  cuda_emulation::shadow_add_global(workspace.data(), workspace.size(), false);
  chosen.run(problem, tensors, workspace.data(), queue);
  cuda_emulation::shadow_remove_global(workspace.data());
}

template <class F>
int reporting_errors(char* error, int64_t error_size, const F& body) {
  try {
    body();
    return 0;
  } catch (const std::exception& e) {
    std::strncpy(error, e.what(), static_cast<size_t>(error_size - 1));
    return 1;
  }
}

}  // namespace

// tensors: input, weight, output, bias. 0, or 1 with the reason in `error`.
EMULATION_API int emulation_conv2d(const char* direction, const char* algorithm, int dtype,
                                   const int64_t* numbers, const HostTensor* tensors,
                                   int multiprocessors, char* error, int64_t error_size) {
  return reporting_errors(error, error_size, [&] {
    const Conv2dProblem problem = conv2d_problem(static_cast<DType>(dtype), numbers);
    const DeviceTensor input(tensors[0]), weight(tensors[1]), output(tensors[2]), bias(tensors[3]);
    const Conv2dTensors device{input.data(), weight.data(), output.data(), bias.data()};
    if (std::string_view(direction) == "bias") {
      cuda::conv2d_bias_gradient(problem, output.data(), bias.data(),
                                 {{90, multiprocessors}, nullptr});
    } else {
      run(conv2d_list(direction), problem, device, algorithm, multiprocessors);
    }
    for (const DeviceTensor* tensor : {&input, &weight, &output, &bias}) tensor->copy_back();
  });
}

// tensors: input, output, indices.
EMULATION_API int emulation_max_pool2d(const char* direction, const char* algorithm, int dtype,
                                       const int64_t* numbers, const HostTensor* tensors,
                                       int multiprocessors, char* error, int64_t error_size) {
  return reporting_errors(error, error_size, [&] {
    const Pool2dProblem problem = pool2d_problem(static_cast<DType>(dtype), numbers);
    const DeviceTensor input(tensors[0]), output(tensors[1]), indices(tensors[2]);
    MaxPool2dTensors device;
    device.input = input.data();
    device.output = output.data();
    device.indices = static_cast<int64_t*>(indices.data());
    run(pool_list(direction), problem, device, algorithm, multiprocessors);
    for (const DeviceTensor* tensor : {&input, &output, &indices}) tensor->copy_back();
  });
}

// tensors: a, b, c.
EMULATION_API int emulation_specimen(const char* kernel, const char* fault,
                                     const HostTensor* tensors, int depth, int b_by_depth,
                                     char* error, int64_t error_size) {
  return reporting_errors(error, error_size, [&] {
    const DeviceTensor a(tensors[0]), b(tensors[1]), c(tensors[2]);
    cuda::run_specimen(kernel, fault, a.data(), b.data(), static_cast<float*>(c.data()), depth,
                       b_by_depth != 0, nullptr);
    c.copy_back();
  });
}
