// The max-pooling algorithms of the CPU, one ordered list per direction.
#pragma once

#include <cstdint>
#include <span>

#include "cpu/algorithm.h"

namespace fastconv::cpu {

// forward reads input and writes output and, where it is not null, indices. backward reads the
// gradient of the output from `output` and indices, and writes the gradient of the input to
// `input`. Indices are int64 into the H x W plane and lie exactly like output. backward must check
// each index against the plane: where one lies outside it sets *index_out_of_range and touches no
// memory for it.
struct MaxPool2dTensors {
  void* input = nullptr;
  void* output = nullptr;
  int64_t* indices = nullptr;
  bool* index_out_of_range = nullptr;
};

using MaxPool2dAlgorithm = Algorithm<Pool2dProblem, MaxPool2dTensors>;
using MaxPool2dList = std::span<const MaxPool2dAlgorithm* const>;

MaxPool2dList max_pool2d_forward_algorithms();
MaxPool2dList max_pool2d_backward_algorithms();

}  // namespace fastconv::cpu
