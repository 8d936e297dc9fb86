// What a library tells Python of its algorithm lists: one face for both libraries, over a Backend
// that knows the lists and what else decides (threads, or a GPU). No hot path goes through here.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "algorithm_list.h"
#include "validate.h"

namespace fastconv {

namespace py = pybind11;

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

inline DType dtype_from_name(const std::string& name) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    if (name == name_of(dtype)) return dtype;
  }
  throw py::value_error("no kernels for dtype " + name);
}

inline Precision precision_from_name(const std::string& name) {
  for (Precision precision : {Precision::none, Precision::ieee, Precision::tf32, Precision::bf16}) {
    if (name == name_of(precision)) return precision;
  }
  throw py::value_error("precision is one of none, ieee, tf32, bf16");
}

inline Strides4 strides4(const std::vector<int64_t>& strides) {
  if (strides.size() != 4) throw py::value_error("expected the strides of a 4-D tensor");
  return {strides[0], strides[1], strides[2], strides[3]};
}

template <class Info>
py::dict describe(const Info& info, const std::string& isa) {
  py::list dtypes;
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    if (info.dtypes & only(dtype)) dtypes.append(name_of(dtype));
  }
  py::dict out;
  out["name"] = info.name;
  out["op"] = info.op;
  out["direction"] = info.direction;
  out["isa"] = isa;
  out["dtypes"] = py::tuple(dtypes);
  out["error"] = info.error;
  out["note"] = info.note;
  return out;
}

// Backend::Resource is what beside the problem decides, by the name of the argument that brings it;
// Backend::conv2d_list(direction) and Backend::max_pool2d_list(direction) throw py::value_error
// for other directions; Backend::isa(info) names what an algorithm needs, and
// Backend::explain(list, problem, resource, requested) gives an Explanation.
template <class Backend>
void define_face(py::module_& m) {
  using Resource = typename Backend::Resource;
  using Numbers = std::vector<int64_t>;
  // Of this module alone: the other library has its own.
  py::class_<Opinion>(m, "Opinion", py::module_local())
      .def_readonly("algorithm", &Opinion::algorithm)
      .def_readonly("reason", &Opinion::reason)
      .def_readonly("workspace_bytes", &Opinion::workspace_bytes)
      .def_readonly("seconds", &Opinion::seconds)
      .def_readonly("packed_weight_bytes", &Opinion::packed_weight_bytes);
  py::class_<Explanation>(m, "Explanation", py::module_local())
      .def_readonly("chosen", &Explanation::chosen)
      .def_readonly("opinions", &Explanation::opinions);

  m.def("algorithms", [] {
    py::list out;
    const auto append = [&](auto list) {
      for (const auto* algorithm : list) {
        out.append(describe(*algorithm, Backend::isa(*algorithm)));
      }
    };
    for (const char* direction : {"fprop", "dgrad", "wgrad"}) {
      append(Backend::conv2d_list(direction));
    }
    for (const char* direction : {"forward", "backward"}) {
      append(Backend::max_pool2d_list(direction));
    }
    return out;
  });

  m.def(
      "explain_conv2d",
      [](const std::string& direction, const std::string& dtype, const Numbers& input_size,
         const Numbers& input_stride, const Numbers& weight_size, const Numbers& weight_stride,
         const Numbers& output_stride, const Numbers& stride, const Numbers& padding,
         const Numbers& dilation, int64_t groups, const Resource& resource,
         const std::string& requested, const std::string& precision, bool weight_is_packed) {
        Conv2dProblem problem = conv2d_problem(dtype_from_name(dtype), input_size, weight_size,
                                               nullptr, {stride, padding, dilation, groups});
        problem.input = strides4(input_stride);
        problem.weight = strides4(weight_stride);
        problem.output = strides4(output_stride);
        problem.precision = precision_from_name(precision);
        problem.weight_is_packed = weight_is_packed;
        return Backend::explain(Backend::conv2d_list(direction), problem, resource, requested);
      },
      py::kw_only(), py::arg("direction"), py::arg("dtype"), py::arg("input_size"),
      py::arg("input_stride"), py::arg("weight_size"), py::arg("weight_stride"),
      py::arg("output_stride"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
      py::arg("groups"), py::arg(Backend::kResource), py::arg("requested") = "",
      py::arg("precision") = "none", py::arg("weight_is_packed") = false);

  m.def(
      "explain_max_pool2d",
      [](const std::string& direction, const std::string& dtype, const Numbers& input_size,
         const Numbers& input_stride, const Numbers& output_stride, const Numbers& kernel_size,
         const Numbers& stride, const Numbers& padding, const Numbers& dilation, bool ceil_mode,
         const Resource& resource, const std::string& requested) {
        Pool2dProblem problem =
            max_pool2d_problem(dtype_from_name(dtype), input_size,
                               {kernel_size, stride, padding, dilation, ceil_mode});
        problem.input = strides4(input_stride);
        problem.output = strides4(output_stride);
        return Backend::explain(Backend::max_pool2d_list(direction), problem, resource, requested);
      },
      py::kw_only(), py::arg("direction"), py::arg("dtype"), py::arg("input_size"),
      py::arg("input_stride"), py::arg("output_stride"), py::arg("kernel_size"), py::arg("stride"),
      py::arg("padding"), py::arg("dilation"), py::arg("ceil_mode"), py::arg(Backend::kResource),
      py::arg("requested") = "");
}

}  // namespace fastconv
