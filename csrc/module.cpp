// The pybind11 face of the library: facts about the build, the CPU and the algorithm lists. No hot
// path goes through here; the operators are torch's to call (ops.cpp).
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "cpu/conv2d/algorithms.h"
#include "cpu/isa.h"
#include "cpu/max_pool2d/algorithms.h"
#include "validate.h"

namespace py = pybind11;

namespace fastconv {
namespace {

DType dtype_from_name(const std::string& name) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    if (name == name_of(dtype)) return dtype;
  }
  throw py::value_error("no kernels for dtype " + name);
}

Strides4 strides4(const std::vector<int64_t>& strides) {
  if (strides.size() != 4) throw py::value_error("expected the strides of a 4-D tensor");
  return {strides[0], strides[1], strides[2], strides[3]};
}

cpu::Conv2dList conv2d_list(const std::string& direction) {
  if (direction == "fprop") return cpu::conv2d_fprop_algorithms();
  if (direction == "dgrad") return cpu::conv2d_dgrad_algorithms();
  if (direction == "wgrad") return cpu::conv2d_wgrad_algorithms();
  throw py::value_error("direction is one of fprop, dgrad, wgrad");
}

cpu::MaxPool2dList max_pool2d_list(const std::string& direction) {
  if (direction == "forward") return cpu::max_pool2d_forward_algorithms();
  if (direction == "backward") return cpu::max_pool2d_backward_algorithms();
  throw py::value_error("direction is one of forward, backward");
}

py::dict describe(const cpu::AlgorithmInfo& info) {
  py::list dtypes;
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    if (info.dtypes & cpu::only(dtype)) dtypes.append(name_of(dtype));
  }
  py::dict out;
  out["name"] = info.name;
  out["op"] = info.op;
  out["direction"] = info.direction;
  out["isa"] = cpu::name_of(info.isa);
  out["dtypes"] = py::tuple(dtypes);
  out["error"] = info.error;
  out["note"] = info.note;
  return out;
}

template <class List>
void append_described(py::list& out, List list) {
  for (const auto* algorithm : list) out.append(describe(*algorithm));
}

py::list algorithms() {
  py::list out;
  for (const char* direction : {"fprop", "dgrad", "wgrad"})
    append_described(out, conv2d_list(direction));
  for (const char* direction : {"forward", "backward"}) {
    append_described(out, max_pool2d_list(direction));
  }
  return out;
}

struct Opinion {
  std::string algorithm;
  std::string reason;       // against it, or empty
  int64_t workspace_bytes;  // 0 where it is rejected
  double seconds;           // estimated; negative where there is no estimate
  int64_t packed_weight_bytes;
};

// What the dispatcher would choose, and its opinion of every algorithm in list order.
struct Explanation {
  std::string chosen;
  std::vector<Opinion> opinions;
};

template <class List, class Problem>
Explanation explain(List list, const Problem& problem, int threads, const std::string& requested) {
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

Precision precision_from_name(const std::string& name) {
  for (Precision precision : {Precision::none, Precision::ieee, Precision::tf32, Precision::bf16}) {
    if (name == name_of(precision)) return precision;
  }
  throw py::value_error("precision is one of none, ieee, tf32, bf16");
}

Explanation explain_conv2d(
    const std::string& direction, const std::string& dtype, const std::vector<int64_t>& input_size,
    const std::vector<int64_t>& input_stride, const std::vector<int64_t>& weight_size,
    const std::vector<int64_t>& weight_stride, const std::vector<int64_t>& output_stride,
    const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
    const std::vector<int64_t>& dilation, int64_t groups, int threads, const std::string& requested,
    const std::string& precision, bool weight_is_packed) {
  Conv2dProblem problem = conv2d_problem(dtype_from_name(dtype), input_size, weight_size, nullptr,
                                         {stride, padding, dilation, groups});
  problem.input = strides4(input_stride);
  problem.weight = strides4(weight_stride);
  problem.output = strides4(output_stride);
  problem.precision = precision_from_name(precision);
  problem.weight_is_packed = weight_is_packed;
  return explain(conv2d_list(direction), problem, threads, requested);
}

Explanation explain_max_pool2d(
    const std::string& direction, const std::string& dtype, const std::vector<int64_t>& input_size,
    const std::vector<int64_t>& input_stride, const std::vector<int64_t>& output_stride,
    const std::vector<int64_t>& kernel_size, const std::vector<int64_t>& stride,
    const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation, bool ceil_mode,
    int threads, const std::string& requested) {
  Pool2dProblem problem = max_pool2d_problem(dtype_from_name(dtype), input_size,
                                             {kernel_size, stride, padding, dilation, ceil_mode});
  problem.input = strides4(input_stride);
  problem.output = strides4(output_stride);
  return explain(max_pool2d_list(direction), problem, threads, requested);
}

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
  m.def("algorithms", &fastconv::algorithms);
  py::class_<fastconv::Opinion>(m, "Opinion")
      .def_readonly("algorithm", &fastconv::Opinion::algorithm)
      .def_readonly("reason", &fastconv::Opinion::reason)
      .def_readonly("workspace_bytes", &fastconv::Opinion::workspace_bytes)
      .def_readonly("seconds", &fastconv::Opinion::seconds)
      .def_readonly("packed_weight_bytes", &fastconv::Opinion::packed_weight_bytes);
  py::class_<fastconv::Explanation>(m, "Explanation")
      .def_readonly("chosen", &fastconv::Explanation::chosen)
      .def_readonly("opinions", &fastconv::Explanation::opinions);
  m.def("explain_conv2d", &fastconv::explain_conv2d, py::kw_only(), py::arg("direction"),
        py::arg("dtype"), py::arg("input_size"), py::arg("input_stride"), py::arg("weight_size"),
        py::arg("weight_stride"), py::arg("output_stride"), py::arg("stride"), py::arg("padding"),
        py::arg("dilation"), py::arg("groups"), py::arg("threads"), py::arg("requested") = "",
        py::arg("precision") = "none", py::arg("weight_is_packed") = false);
  m.def("explain_max_pool2d", &fastconv::explain_max_pool2d, py::kw_only(), py::arg("direction"),
        py::arg("dtype"), py::arg("input_size"), py::arg("input_stride"), py::arg("output_stride"),
        py::arg("kernel_size"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
        py::arg("ceil_mode"), py::arg("threads"), py::arg("requested") = "");
}
