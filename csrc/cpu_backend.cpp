// The operators' backend of _C: the algorithms of csrc/cpu on torch's intra-op pool.
#include "backend.h"
#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/beside_padding.h"
#include "cpu/huge_pages.h"
#include "cpu/max_pool2d/algorithms.h"
#include "cpu_pool.h"
#include "verbose.h"

namespace fastconv {

const torch::headeronly::DeviceType kBackendDevice = torch::headeronly::DeviceType::CPU;
const char* const kBackendName = "CPU";
const char* const kPrecisionSwitch = "mkldnn";

DeviceScope::DeviceScope(const Tensor&) {}
DeviceScope::~DeviceScope() = default;

bool is_on_current_device(const Tensor& tensor) { return tensor.device().type() == kBackendDevice; }

void prepare_memory(void* memory, int64_t bytes) { cpu::prefer_huge_pages(memory, bytes); }

namespace {

double outputs(const Pool2dProblem& p) { return static_cast<double>(p.N * p.C * p.P * p.Q); }

template <class Problem, class Tensors>
void run(std::span<const cpu::Algorithm<Problem, Tensors>* const> list, const Problem& problem,
         const Tensors& tensors, std::string_view requested, double operations) {
  const cpu::Parallel pool = torch_pool(operations);
  const auto& algorithm = cpu::select(list, problem, pool.threads(), requested);
  log_choice({algorithm.name, "threads", pool.threads()}, problem);
  const Workspace workspace(algorithm.workspace(problem, pool.threads()));
  algorithm.run(problem, tensors, workspace.data(), pool);
}

cpu::Conv2dList conv2d_list(ConvDirection direction) {
  switch (direction) {
    case ConvDirection::dgrad:
      return cpu::conv2d_dgrad_algorithms();
    case ConvDirection::wgrad:
      return cpu::conv2d_wgrad_algorithms();
    case ConvDirection::fprop:
      break;
  }
  return cpu::conv2d_fprop_algorithms();
}

}  // namespace

void run_conv2d(ConvDirection direction, const Conv2dProblem& problem, const Conv2dTensors& tensors,
                std::string_view requested) {
  const double operations = multiply_adds(problem);
  run(conv2d_list(direction), problem, tensors, requested, operations);
  if (direction == ConvDirection::fprop) {
    cpu::repair_fprop_beside_padding(problem, tensors, torch_pool(operations));
  } else if (direction == ConvDirection::dgrad) {
    cpu::repair_dgrad_beside_padding(problem, tensors, torch_pool(operations));
  }
}

void run_max_pool2d(PoolDirection direction, const Pool2dProblem& problem,
                    const MaxPool2dTensors& tensors, std::string_view requested) {
  if (direction == PoolDirection::backward) {
    run(cpu::max_pool2d_backward_algorithms(), problem, tensors, requested, outputs(problem));
    return;
  }
  const double cells =
      static_cast<double>(problem.kernel.h) * static_cast<double>(problem.kernel.w);
  run(cpu::max_pool2d_forward_algorithms(), problem, tensors, requested, outputs(problem) * cells);
}

void run_bias_gradient(const Conv2dProblem& problem, const void* grad_output, void* grad_bias) {
  const double additions = static_cast<double>(problem.N * problem.K * problem.P * problem.Q);
  cpu::conv2d_bias_gradient(problem, grad_output, grad_bias, torch_pool(additions));
}

}  // namespace fastconv
