// How the gradient of the weight of a grouped convolution of few channels is laid over vectors: a
// vector holds neighbouring channels, those of several groups where a group has fewer than a vector
// has lanes.
#pragma once

#include <cstdint>

#include "cpu/gemm/blocking.h"
#include "problem.h"

namespace fastconv::cpu {

struct GroupedWgradPlan {
  int64_t lanes;
  int64_t groups_a_bundle;  // groups that share vectors, of channels and of filters
  int64_t bundles;
  int64_t channel_vectors, filter_vectors;  // of a bundle; several only where that is one group
  EvenParts row_taps, column_taps;          // the window in blocks that fit in registers
  EvenParts rows;                           // of an image's output, in blocks that fit in L2

  // What a block reads of a bundle, turned into vectors of channels, the input with its padding.
  int64_t slab_rows, slab_columns;

  // The blocks of all images are shared among this many tasks for each bundle, whose sums are added
  // in order. Chosen from the problem alone.
  int64_t blocks, parts;
  int64_t sums;  // floats of a bundle's sums, ordered by (channel vector, filter, tap, lane)

  int64_t tasks() const { return bundles * parts; }
  int64_t plane_elements() const { return slab_rows * slab_columns * lanes; }
  int64_t grad_elements(const Conv2dProblem& p) const { return rows.largest() * p.Q * lanes; }
};

// Why this problem is not for the kernels, or nullptr.
const char* grouped_wgrad_reject(const Conv2dProblem& problem);

GroupedWgradPlan grouped_wgrad_plan(const Conv2dProblem& problem, int64_t lanes);

}  // namespace fastconv::cpu
