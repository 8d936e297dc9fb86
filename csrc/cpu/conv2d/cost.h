// Models of time, by which the dispatcher ranks the algorithms that could do a problem. Seconds on
// the machine that the rates were measured on (AVX-512 Xeon at 2.5 GHz, 1 MB of L2 a core): on
// others only the ratios count.
#pragma once

#include "cpu/conv2d/gather.h"
#include "cpu/conv2d/grouped_plan.h"
#include "cpu/conv2d/winograd_plan.h"
#include "cpu/isa.h"
#include "problem.h"

namespace fastconv::cpu {

// What the time of Winograd's products depends on.
struct WinogradRates {
  double products;                  // multiply-adds a second of one core
  double transformed_weights;       // bytes of U a second, at most
  double bytes;                     // of an element of V or U
  int64_t least_tiles;              // fewer take as long
  int64_t tile_unit, channel_unit;  // products are formed in multiples of
};
WinogradRates winograd_float_rates(Isa isa);
WinogradRates winograd_term_rates(int terms);

double winograd_seconds(const WinogradConv& conv, int64_t outputs, const WinogradRates& rates,
                        bool weight_is_packed, int threads);

// The gradient of the weight.
double winograd_wgrad_seconds(const WinogradConv& conv, int64_t outputs, Isa isa, int threads);
double direct_wgrad_seconds(const Conv2dProblem& problem, Isa isa, int threads);
// No estimate for what these kernels are made for: none is faster.
double depthwise_fprop_seconds(const Conv2dProblem& problem, Isa isa, int threads);
double depthwise_wgrad_seconds(const Conv2dProblem& problem, int threads);

// One gather of a grouped convolution, vectors of that many lanes.
double grouped_seconds(const GroupedGather& gather, int64_t lanes, bool weight_is_packed,
                       int threads);

// The same by products of tiles, of so many bfloat16 terms for each number: of AMX or, for
// avx512_bf16, of vectors.
double grouped_tiles_seconds(const Gather& gather, Isa isa, int terms, bool weight_is_packed,
                             int threads);
double grouped_wgrad_seconds(const Conv2dProblem& problem, int64_t lanes, int threads);

// Dot products of the filters with few pixels.
double dot_products_seconds(const Conv2dProblem& problem, int threads);
double row_products_seconds(const Conv2dProblem& problem, int threads);

// dgrad by col2im.
double col2im_seconds(const Conv2dProblem& problem, Isa isa, int threads);

// im2col + GEMM.
double im2col_fprop_seconds(const Conv2dProblem& problem, Isa isa, int threads);
double im2col_dgrad_seconds(const Conv2dProblem& problem, Isa isa, int threads);

// im2col + GEMM by such products.
double terms_fprop_seconds(const Conv2dProblem& problem, Isa isa, int terms, int threads);
double terms_dgrad_seconds(const Conv2dProblem& problem, Isa isa, int terms, int threads);
double terms_wgrad_seconds(const Conv2dProblem& problem, Isa isa, int terms, int threads);

}  // namespace fastconv::cpu
