// The pybind11 face of the library: facts about the build, the CPU and the algorithm lists, and the
// short way to the operators (ops.cpp), which are torch's to call.
#include "cpu/conv2d/algorithms.h"
#include "cpu/isa.h"
#include "cpu/max_pool2d/algorithms.h"
#include "eager_call.h"
#include "python_face.h"
#include "recorded_conv2d.h"

namespace fastconv {
namespace {

struct CpuBackend {
  using Resource = int;
  static constexpr const char* kResource = "threads";

  static cpu::Conv2dList conv2d_list(const std::string& direction) {
    if (direction == "fprop") return cpu::conv2d_fprop_algorithms();
    if (direction == "dgrad") return cpu::conv2d_dgrad_algorithms();
    if (direction == "wgrad") return cpu::conv2d_wgrad_algorithms();
    throw py::value_error("direction is one of fprop, dgrad, wgrad");
  }

  static cpu::MaxPool2dList max_pool2d_list(const std::string& direction) {
    if (direction == "forward") return cpu::max_pool2d_forward_algorithms();
    if (direction == "backward") return cpu::max_pool2d_backward_algorithms();
    throw py::value_error("direction is one of forward, backward");
  }

  static std::string isa(const cpu::AlgorithmInfo& info) { return cpu::name_of(info.isa); }

  template <class List, class Problem>
  static Explanation explain(List list, const Problem& problem, int threads,
                             const std::string& requested) {
    Explanation out;
    out.chosen = cpu::select(list, problem, threads, requested).name;
    for (const auto* algorithm : list) {
      Opinion opinion{algorithm->name, cpu::reason_against(*algorithm, problem), 0, kNoEstimate, 0};
      if (opinion.reason.empty()) {
        opinion.workspace_bytes = algorithm->workspace(problem, threads);
        opinion.seconds = cpu::estimated_seconds(*algorithm, problem, threads);
        if (algorithm->packed_weight_bytes != nullptr) {
          opinion.packed_weight_bytes = algorithm->packed_weight_bytes(problem);
        }
      }
      out.opinions.push_back(std::move(opinion));
    }
    return out;
  }
};

py::dict build_info() {
  py::dict out;
  out["compiler"] = "gcc " __VERSION__;
  out["cxx_standard"] = static_cast<int64_t>(__cplusplus);
  out["torch_target_version"] = "2.10";
  return out;
}

py::dict isa() {
  py::dict out;
  out["detected"] = cpu::name_of(cpu::detected_isa());
  out["used"] = cpu::name_of(cpu::usable_isa());
  return out;
}

}  // namespace
}  // namespace fastconv

PYBIND11_MODULE(_C, m) {
  m.doc() = "Facts about fastconv's compiled library. Importing it registers torch.ops.fastconv.";
  m.def("build_info", &fastconv::build_info);
  m.def("isa", &fastconv::isa);
  fastconv::define_face<fastconv::CpuBackend>(m);
  fastconv::define_eager_calls(m);
  fastconv::define_recorded_conv2d(m);
}
