// FASTCONV_VERBOSE=1: one line on stderr per call with the algorithm that was chosen and the
// problem it got.
#pragma once

#include "cpu/algorithm.h"
#include "problem.h"

namespace fastconv {

void log_choice(const cpu::AlgorithmInfo& algorithm, const Conv2dProblem& problem, int threads);
void log_choice(const cpu::AlgorithmInfo& algorithm, const Pool2dProblem& problem, int threads);

}  // namespace fastconv
