// The pybind11 face of the library: facts about the build, the CPU and the algorithm lists. No hot
// path goes through here; the operators are torch's to call (ops.cpp).
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <tuple>
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

// (name, reason against it or "", workspace in bytes or 0 where it is rejected), in list order.
using Opinion = std::tuple<std::string, std::string, int64_t>;

template <class List, class Problem>
std::vector<Opinion> opinions(List list, const Problem& problem, int threads) {
  std::vector<Opinion> out;
  for (const auto* algorithm : list) {
    const std::string reason = cpu::reason_against(*algorithm, problem);
    out.emplace_back(algorithm->name, reason,
                     reason.empty() ? algorithm->workspace(problem, threads) : 0);
  }
  return out;
}

std::vector<Opinion> explain_conv2d(
    const std::string& direction, const std::string& dtype, const std::vector<int64_t>& input_size,
    const std::vector<int64_t>& input_stride, const std::vector<int64_t>& weight_size,
    const std::vector<int64_t>& weight_stride, const std::vector<int64_t>& output_stride,
    const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
    const std::vector<int64_t>& dilation, int64_t groups, int threads) {
  Conv2dProblem problem = conv2d_problem(dtype_from_name(dtype), input_size, weight_size, nullptr,
                                         {stride, padding, dilation, groups});
  problem.input = strides4(input_stride);
  problem.weight = strides4(weight_stride);
  problem.output = strides4(output_stride);
  return opinions(conv2d_list(direction), problem, threads);
}

std::vector<Opinion> explain_max_pool2d(
    const std::string& direction, const std::string& dtype, const std::vector<int64_t>& input_size,
    const std::vector<int64_t>& input_stride, const std::vector<int64_t>& output_stride,
    const std::vector<int64_t>& kernel_size, const std::vector<int64_t>& stride,
    const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation, bool ceil_mode,
    int threads) {
  Pool2dProblem problem = max_pool2d_problem(dtype_from_name(dtype), input_size,
                                             {kernel_size, stride, padding, dilation, ceil_mode});
  problem.input = strides4(input_stride);
  problem.output = strides4(output_stride);
  return opinions(max_pool2d_list(direction), problem, threads);
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
  m.def("explain_conv2d", &fastconv::explain_conv2d, py::kw_only(), py::arg("direction"),
        py::arg("dtype"), py::arg("input_size"), py::arg("input_stride"), py::arg("weight_size"),
        py::arg("weight_stride"), py::arg("output_stride"), py::arg("stride"), py::arg("padding"),
        py::arg("dilation"), py::arg("groups"), py::arg("threads"));
  m.def("explain_max_pool2d", &fastconv::explain_max_pool2d, py::kw_only(), py::arg("direction"),
        py::arg("dtype"), py::arg("input_size"), py::arg("input_stride"), py::arg("output_stride"),
        py::arg("kernel_size"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
        py::arg("ceil_mode"), py::arg("threads"));
}
