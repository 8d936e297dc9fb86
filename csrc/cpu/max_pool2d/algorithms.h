// The max-pooling algorithms of the CPU, one ordered list per direction.
#pragma once

#include <cstdint>
#include <span>

#include "cpu/algorithm.h"

namespace fastconv::cpu {

using fastconv::MaxPool2dTensors;
using MaxPool2dAlgorithm = Algorithm<Pool2dProblem, MaxPool2dTensors>;
using MaxPool2dList = std::span<const MaxPool2dAlgorithm* const>;

MaxPool2dList max_pool2d_forward_algorithms();
MaxPool2dList max_pool2d_backward_algorithms();

}  // namespace fastconv::cpu
