// Zeros for what no tap reaches.
#pragma once

#include "cpu/parallel.h"
#include "problem.h"

namespace fastconv::cpu {

// Sets the whole input tensor of the problem to zero.
void fill_input_with_zeros(const Conv2dProblem& problem, void* input, const Parallel& parallel);

}  // namespace fastconv::cpu
