// Models of time, by which the dispatcher ranks the algorithms that could do a problem. Seconds on
// the machine that the rates were measured on (AVX-512 Xeon at 2.5 GHz, 1 MB of L2 a core): on
// others only the ratios count.
#pragma once

#include "cpu/conv2d/gather.h"
#include "cpu/conv2d/winograd_plan.h"
#include "cpu/isa.h"
#include "problem.h"

namespace fastconv::cpu {

double winograd_seconds(const WinogradConv& conv, int64_t outputs, Isa isa, bool weight_is_packed,
                        int threads);

// The gradient of the weight.
double winograd_wgrad_seconds(const WinogradConv& conv, int64_t outputs, Isa isa, int threads);
double direct_wgrad_seconds(const Conv2dProblem& problem, Isa isa, int threads);
// Nothing for what these kernels are made for: none is faster.
double depthwise_wgrad_seconds(const Conv2dProblem& problem, int threads);

// One gather of a grouped convolution, vectors of that many lanes.
double grouped_seconds(const Gather& gather, int64_t lanes, bool weight_is_packed, int threads);

// im2col + GEMM.
double im2col_fprop_seconds(const Conv2dProblem& problem, Isa isa, int threads);
double im2col_dgrad_seconds(const Conv2dProblem& problem, Isa isa, int threads);

}  // namespace fastconv::cpu
