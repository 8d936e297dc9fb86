// What an algorithm of the GPU is to the dispatcher: the twin of cpu/algorithm.h, with a device in
// place of an instruction set and a stream in place of a thread pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "algorithm_list.h"
#include "problem.h"

struct CUstream_st;

namespace fastconv::cuda {

using Stream = CUstream_st*;  // cudaStream_t, for those who include nothing of CUDA

// The device that a launch will run on.
struct Device {
  int compute_capability;  // 10 x major + minor: 90 for sm_90
  int multiprocessors;
};

// Where the launches of one call go.
struct Queue {
  Device device;
  Stream stream;
};

struct AlgorithmInfo {
  const char* name;        // unique over all operators and directions: what use_algorithm() takes
  const char* op;          // "conv2d" or "max_pool2d"
  const char* direction;   // conv2d: "fprop", "dgrad", "wgrad"; max_pool2d: "forward", "backward"
  int compute_capability;  // the least that it needs
  DTypeSet dtypes;
  double error;  // as in cpu/algorithm.h
  const char* note;
};

template <class ProblemType, class TensorsType>
struct Algorithm : AlgorithmInfo {
  using Problem = ProblemType;
  using Tensors = TensorsType;
  // Why this problem, with its tensors where they lie, is not for this algorithm, or nullptr.
  const char* (*reject)(const Problem&, const Tensors&);
  // Bytes of device memory that run() needs.
  int64_t (*workspace)(const Problem&, const Device&);
  // Enqueues launches that overwrite the whole output. Never waits for the device, never allocates.
  void (*run)(const Problem&, const Tensors&, std::byte* workspace, const Queue&);
  // Why a device of sufficient compute capability is not for it either, or nullptr; null where that
  // alone decides.
  const char* (*reject_device)(const Device&) = nullptr;
  // Is it worth taking where nobody asks for it by name? Null: wherever it can.
  bool (*worthwhile)(const Problem&, const Device&) = nullptr;
};

template <class Algorithm>
std::string reason_against(const Algorithm& algorithm, const typename Algorithm::Problem& problem,
                           const typename Algorithm::Tensors& tensors, const Device& device) {
  if (algorithm.compute_capability > device.compute_capability) {
    return "needs a GPU of compute capability " +
           std::to_string(algorithm.compute_capability / 10) + "." +
           std::to_string(algorithm.compute_capability % 10);
  }
  if ((algorithm.dtypes & only(problem.dtype)) == 0) {
    return std::string("has no kernel for ") + name_of(problem.dtype);
  }
  const char* reason =
      algorithm.reject_device == nullptr ? nullptr : algorithm.reject_device(device);
  if (reason == nullptr) reason = algorithm.reject(problem, tensors);
  return reason == nullptr ? std::string() : std::string(reason);
}

// The entry of `list` that will do `problem` on `device`; see select_algorithm().
template <class Algorithm>
const Algorithm& select(std::span<const Algorithm* const> list,
                        const typename Algorithm::Problem& problem,
                        const typename Algorithm::Tensors& tensors, const Device& device,
                        std::string_view requested) {
  struct Judge {
    const typename Algorithm::Problem& problem;
    const typename Algorithm::Tensors& tensors;
    const Device& device;
    bool accepts(const Algorithm& algorithm) const {
      return algorithm.compute_capability <= device.compute_capability &&
             (algorithm.dtypes & only(problem.dtype)) != 0 &&
             (algorithm.worthwhile == nullptr || algorithm.worthwhile(problem, device)) &&
             (algorithm.reject_device == nullptr || algorithm.reject_device(device) == nullptr) &&
             algorithm.reject(problem, tensors) == nullptr;
    }
    std::string reason_against(const Algorithm& algorithm) const {
      return cuda::reason_against(algorithm, problem, tensors, device);
    }
    double seconds(const Algorithm&) const { return kNoEstimate; }
  };
  return select_algorithm(list, Judge{problem, tensors, device}, requested);
}

using Conv2dAlgorithm = Algorithm<Conv2dProblem, Conv2dTensors>;
using Conv2dList = std::span<const Conv2dAlgorithm* const>;
using MaxPool2dAlgorithm = Algorithm<Pool2dProblem, MaxPool2dTensors>;
using MaxPool2dList = std::span<const MaxPool2dAlgorithm* const>;

// The tensors that the algorithms of a list work on.
template <class List>
using TensorsOf = typename std::remove_pointer_t<typename List::value_type>::Tensors;

Conv2dList conv2d_fprop_algorithms();
Conv2dList conv2d_dgrad_algorithms();
Conv2dList conv2d_wgrad_algorithms();
MaxPool2dList max_pool2d_forward_algorithms();
MaxPool2dList max_pool2d_backward_algorithms();

// grad_bias[k] = sum of grad_output over N, P, Q; grad_output lies in problem.output, grad_bias is
// contiguous.
void conv2d_bias_gradient(const Conv2dProblem& problem, const void* grad_output, void* grad_bias,
                          const Queue& queue);

}  // namespace fastconv::cuda
