// Runs one algorithm of csrc/cuda on the emulator: host tensors in, copies between guard pages for
// the kernels, results back.
#include <cstring>
#include <exception>
#include <memory>
#include <string_view>

#include "cuda/algorithm.h"
#include "driver.h"
#include "runtime.h"
#include "validate.h"

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

// Takes a caller's numbers off a list, group by group.
class Numbers {
 public:
  explicit Numbers(const int64_t* next) : next_(next) {}
  Sizes take(size_t count) {
    const Sizes taken(next_, count);
    next_ += count;
    return taken;
  }
  Strides4 strides() {
    const Sizes s = take(4);
    return {s[0], s[1], s[2], s[3]};
  }
  int64_t one() { return take(1)[0]; }

 private:
  const int64_t* next_;
};

// As conv2d_op.cpp makes it, by the same validator: sizes of input, weight and output, stride,
// padding, dilation, groups, precision, and the strides of the three.
Conv2dProblem problem_of_conv2d(DType dtype, Numbers numbers) {
  const Sizes input = numbers.take(4), weight = numbers.take(4), output = numbers.take(4);
  const Sizes stride = numbers.take(2), padding = numbers.take(2), dilation = numbers.take(2);
  Conv2dProblem p =
      conv2d_problem(dtype, input, weight, nullptr, {stride, padding, dilation, numbers.one()});
  check_grad_output(p, output, true);
  p.precision = static_cast<Precision>(numbers.one());
  p.input = numbers.strides();
  p.weight = numbers.strides();
  p.output = numbers.strides();
  return p;
}

// As max_pool2d_op.cpp makes it: sizes of input and output, the window or zeros, and the strides.
Pool2dProblem problem_of_pool2d(DType dtype, std::string_view direction, Numbers numbers) {
  const Sizes input = numbers.take(4), output = numbers.take(4);
  const Sizes kernel = numbers.take(2), stride = numbers.take(2), padding = numbers.take(2),
              dilation = numbers.take(2);
  const Pool2dParams window{kernel, stride, padding, dilation, numbers.one() != 0};
  Pool2dProblem p = direction == "forward"
                        ? max_pool2d_problem(dtype, input, window)
                        : max_pool2d_backward_problem(dtype, input, output, output,
                                                      kernel[0] == 0 ? nullptr : &window);
  p.input = numbers.strides();
  p.output = numbers.strides();
  return p;
}

// The gradient of a bias knows its output alone, as in conv2d_op.cpp.
Conv2dProblem problem_of_bias(DType dtype, Numbers numbers) {
  numbers.take(8);
  const Sizes output = numbers.take(4);
  numbers.take(16);
  Conv2dProblem p{};
  p.dtype = dtype;
  p.N = output[0];
  p.K = output[1];
  p.P = output[2];
  p.Q = output[3];
  p.output = numbers.strides();
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

const char* last_algorithm = "";

template <class List, class Problem, class Tensors>
void run(List list, const Problem& problem, const Tensors& tensors, std::string_view algorithm,
         int multiprocessors) {
  const cuda::Queue queue{{90, multiprocessors}, nullptr};
  const auto& chosen = cuda::select(list, problem, tensors, queue.device, algorithm);
  last_algorithm = chosen.name;
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

// The one that ran last.
EMULATION_API const char* emulation_last_algorithm() { return last_algorithm; }

// tensors: input, weight, output, bias. 0, or 1 with the reason in `error`.
EMULATION_API int emulation_conv2d(const char* direction, const char* algorithm, int dtype,
                                   const int64_t* numbers, const HostTensor* tensors,
                                   int multiprocessors, char* error, int64_t error_size) {
  return reporting_errors(error, error_size, [&] {
    const DType type = static_cast<DType>(dtype);
    const DeviceTensor input(tensors[0]), weight(tensors[1]), output(tensors[2]), bias(tensors[3]);
    const Conv2dTensors device{input.data(), weight.data(), output.data(), bias.data()};
    if (std::string_view(direction) == "bias") {
      cuda::conv2d_bias_gradient(problem_of_bias(type, Numbers(numbers)), output.data(),
                                 bias.data(), {{90, multiprocessors}, nullptr});
    } else {
      run(conv2d_list(direction), problem_of_conv2d(type, Numbers(numbers)), device, algorithm,
          multiprocessors);
    }
    for (const DeviceTensor* tensor : {&input, &weight, &output, &bias}) tensor->copy_back();
  });
}

// tensors: input, output, indices.
EMULATION_API int emulation_max_pool2d(const char* direction, const char* algorithm, int dtype,
                                       const int64_t* numbers, const HostTensor* tensors,
                                       int multiprocessors, char* error, int64_t error_size) {
  return reporting_errors(error, error_size, [&] {
    const Pool2dProblem problem =
        problem_of_pool2d(static_cast<DType>(dtype), direction, Numbers(numbers));
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
