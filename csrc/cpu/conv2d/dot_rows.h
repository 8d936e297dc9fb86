// Which problems have filters that are rows of the weight's memory, and few pixels for them.
#pragma once

#include <cstdint>

#include "problem.h"

namespace fastconv::cpu {

// More pixels than this are worth a GEMM's panels.
constexpr int64_t kMostDotPixels = 4;

// Why a problem is not for dot products, or nullptr.
const char* reject_dot_products(const Conv2dProblem& problem);

// How many threads are worth waking to read the rows.
int64_t threads_for_rows(const Conv2dProblem& problem, int threads);

}  // namespace fastconv::cpu
