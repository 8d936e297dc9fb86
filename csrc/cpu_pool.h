// The threads of the CPU operators: torch's own intra-op pool.
#pragma once

#include "cpu/parallel.h"
#include "problem.h"

namespace fastconv {

// Torch's pool at the thread count that torch is set to now, or the calling thread alone where
// `operations` (multiply-adds or comparisons) are so few that waking the pool would cost more than
// it saves.
cpu::Parallel torch_pool(double operations);

double multiply_adds(const Conv2dProblem& problem);

}  // namespace fastconv
