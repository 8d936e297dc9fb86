// The CUDA key of torch.ops.fastconv, whose schemas are in ops.cpp, and what Python may know of the
// GPU's algorithm lists, which needs no GPU. Importing fastconv._cuda is what registers the
// kernels.
#include "cuda/algorithm.h"
#include "device_kernels.h"
#include "python_face.h"

STABLE_TORCH_LIBRARY_IMPL(fastconv, CUDA, m) { fastconv::implement_on_device(m); }
STABLE_TORCH_LIBRARY_IMPL(aten, CUDA, m) { fastconv::implement_recorded(m); }
STABLE_TORCH_LIBRARY_IMPL(aten, AutogradCUDA, m) { fastconv::implement_recorded_backward(m); }

namespace fastconv {
namespace {

struct GpuBackend {
  using Resource = std::pair<int, int>;  // Device
  static constexpr const char* kResource = "device";

  static cuda::Conv2dList conv2d_list(const std::string& direction) {
    if (direction == "fprop") return cuda::conv2d_fprop_algorithms();
    if (direction == "dgrad") return cuda::conv2d_dgrad_algorithms();
    if (direction == "wgrad") return cuda::conv2d_wgrad_algorithms();
    throw py::value_error("direction is one of fprop, dgrad, wgrad");
  }

  static cuda::MaxPool2dList max_pool2d_list(const std::string& direction) {
    if (direction == "forward") return cuda::max_pool2d_forward_algorithms();
    if (direction == "backward") return cuda::max_pool2d_backward_algorithms();
    throw py::value_error("direction is one of forward, backward");
  }

  static std::string isa(const cuda::AlgorithmInfo& info) {
    return "sm_" + std::to_string(info.compute_capability);
  }

  // For tensors that start where torch's allocator lets them start.
  template <class List, class Problem>
  static Explanation explain(List list, const Problem& problem, const Resource& resource,
                             const std::string& requested) {
    const cuda::Device device{resource.first, resource.second};
    const cuda::TensorsOf<List> tensors{};
    Explanation out;
    out.chosen = cuda::select(list, problem, tensors, device, requested).name;
    for (const auto* algorithm : list) {
      Opinion opinion{algorithm->name, cuda::reason_against(*algorithm, problem, tensors, device),
                      0, kNoEstimate, 0};
      if (opinion.reason.empty()) opinion.workspace_bytes = algorithm->workspace(problem, device);
      out.opinions.push_back(std::move(opinion));
    }
    return out;
  }
};

}  // namespace
}  // namespace fastconv

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "Facts about fastconv's CUDA kernels. Importing it adds them to torch.ops.fastconv.";
  fastconv::define_face<fastconv::GpuBackend>(m);
  fastconv::define_recorded_conv2d(m);
}
