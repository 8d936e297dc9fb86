// What tensor cores ask of the tensors that they read, and copies of those that do not have it.
#pragma once

#include "cuda/algorithm.h"

namespace fastconv::cuda {

enum class Reads { fprop, dgrad, wgrad };  // input and weight, output and weight, output and input

// Why the tensors cannot be read where they lie, or nullptr.
const char* reason_against_in_place(const Conv2dProblem& p, const Conv2dTensors& t, Reads reads);
// Why not by copies either, or nullptr.
const char* reason_against_copies(const Conv2dProblem& p, const Conv2dTensors& t, Reads reads);

// The problem as the kernels read it: strides of the copies, channels of a group (where reads says
// that they matter) filled up to whole pieces. Of the tensor that is written nothing changes.
Conv2dProblem with_copies(const Conv2dProblem& p, Reads reads);
// Bytes that the copies take.
int64_t copy_bytes(const Conv2dProblem& p, Reads reads);
// Enqueues the copies to `workspace` and says where the tensors lie then.
Conv2dTensors make_copies(const Conv2dProblem& p, const Conv2dTensors& t, Reads reads,
                          std::byte* workspace, const Queue& queue);

}  // namespace fastconv::cuda
