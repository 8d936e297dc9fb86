// FASTCONV_VERBOSE=1: one line on stderr per call with the algorithm that was chosen and the
// problem it got.
#pragma once

#include "problem.h"

namespace fastconv {

// The algorithm and what it runs on: "threads" and how many, or "device" and which.
struct Choice {
  const char *algorithm, *resource;
  int number;
};

void log_choice(const Choice& choice, const Conv2dProblem& problem);
void log_choice(const Choice& choice, const Pool2dProblem& problem);

}  // namespace fastconv
