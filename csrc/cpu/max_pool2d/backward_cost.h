// Estimated seconds of the backward algorithms, by which the list is overruled: which of them is
// fastest depends on whether the gradient of the input stays in the caches. Fitted to float32 on
// one core with 1 MB of L2 at 2.5 GHz; they are to rank algorithms, not to foretell times.
#pragma once

#include <cstdint>

#include "cpu/max_pool2d/tasks.h"
#include "problem.h"

namespace fastconv::cpu {
namespace {

double seconds(double nanoseconds, int threads) { return nanoseconds * 1e-9 / threads; }

double backward_scatter_cost(const Pool2dProblem& p, int threads) {
  const bool channels = p.input.c == 1 && p.C > 1;
  const auto outputs = static_cast<double>(p.N * p.C * p.P * p.Q);
  const auto bytes = static_cast<double>(p.N * p.C * p.H * p.W * size_of(p.dtype));
  // Written twice, the second time from where the first left it.
  const double per_byte = bytes < 1e6 ? 0.03 : bytes > 8e6 ? 0.18 : channels ? 0.065 : 0.045;
  return seconds((channels ? 1.0 : 0.8) * outputs + per_byte * bytes, threads);
}

template <class Vectors>
int64_t lanes_of(DType dtype) {
  return dtype == DType::f64 ? Vectors::Double::kLanes : Vectors::Float::kLanes;
}

template <class Vectors>
double backward_disjoint_pairs_cost(const Pool2dProblem& p, int threads) {
  const int64_t lanes = lanes_of<Vectors>(p.dtype);
  const auto vectors = static_cast<double>(p.N * p.C * p.P * divide_up(p.Q, lanes));
  return seconds(vectors * (6 + 7 * static_cast<double>(p.stride.h)), threads);
}

template <class Vectors>
double backward_disjoint_channels_cost(const Pool2dProblem& p, int threads) {
  const int64_t lanes = lanes_of<Vectors>(p.dtype);
  const auto vectors = static_cast<double>(p.N * p.P * p.Q * divide_up(p.C, lanes));
  const double per_cell = Vectors::Float::kLanes == 16 ? 3.7 : 2.1;
  const auto cells = static_cast<double>(p.stride.h) * static_cast<double>(p.stride.w);
  return seconds(vectors * (5 + per_cell * cells), threads);
}

}  // namespace
}  // namespace fastconv::cpu
