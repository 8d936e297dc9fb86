// Every max_pool2d algorithm by the name of its entry; each is defined in the file that launches
// it.
#pragma once

#include "cuda/algorithm.h"

namespace fastconv::cuda {

extern const MaxPool2dAlgorithm max_pool2d_forward_channels_last;
extern const MaxPool2dAlgorithm max_pool2d_forward_direct;
extern const MaxPool2dAlgorithm max_pool2d_backward_channels_last;
extern const MaxPool2dAlgorithm max_pool2d_backward_by_gather;
extern const MaxPool2dAlgorithm max_pool2d_backward_by_scatter;

// Why the gradient cannot be gathered, or nullptr.
const char* reason_against_gather(const Pool2dProblem& p);

}  // namespace fastconv::cuda
