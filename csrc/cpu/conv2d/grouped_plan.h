// How a grouped convolution of few channels is laid over vectors: a vector holds
// neighbouring filters, those of several groups where a group has fewer than a vector has lanes.
#pragma once

#include <cstdint>

#include "cpu/conv2d/gather.h"
#include "cpu/conv2d/partition.h"
#include "cpu/conv2d/worker_pool.h"

namespace fastconv::cpu {

// up: the grid has so many columns for one of x's, and column j reads (j + offset(t)) / up through
// those taps for which that is whole.
struct GroupedGather : Gather {
  int64_t up;

  GroupedGather(const Gather& gather, int64_t up_columns = 1) : Gather(gather), up(up_columns) {}
};

// fn(gather) for every class of dgrad's pixels. Those of a window three wide with a stride of two,
// the usual one, are classes of rows: columns taken together share their permutations, and are
// stored without gaps.
bool takes_columns_together(const Conv2dProblem& problem);
GroupedGather dgrad_gather_of_columns_together(const Conv2dProblem& problem, int64_t row_residue);
template <class F>
static void for_each_grouped_dgrad_class(const Conv2dProblem& p, const F& fn) {
  if (!takes_columns_together(p)) {
    for_each_dgrad_class(p, [&](const Gather& gather) { fn(GroupedGather(gather)); });
    return;
  }
  for (int64_t a = 0; a < p.stride.h && a < p.H; ++a) {
    if (dgrad_taps(a, p.R, p.stride.h, p.pad.h, p.dilation.h).count == 0) continue;
    fn(dgrad_gather_of_columns_together(p, a));
  }
}

struct GroupedPlan {
  int64_t lanes;
  int64_t groups_a_bundle;  // groups that share vectors: of filters, and of the channels they read
  int64_t bundles;
  int64_t vectors_a_bundle;  // of filters; more than one only where a bundle is one group
  int64_t chunks;            // vectors of channels that a bundle reads
  int64_t depth;             // products of one output
  int64_t taps_a_sum;        // taps that one running sum covers: kLongestSum products
  EvenParts rows;            // how the tasks cut the rows of the grid

  // What a task reads of a bundle, copied with the padding: rows and columns from the least that a
  // tap reads to the greatest.
  int64_t slab_rows, slab_columns;
  int64_t first_column;

  int64_t tasks(const Gather& gather) const { return gather.x.images * rows.parts * bundles; }
  int64_t slab_elements() const { return slab_rows * slab_columns * chunks * lanes; }
  int64_t weight_elements() const { return bundles * vectors_a_bundle * depth * lanes; }
};

// Why this problem is not for the kernels, or nullptr.
const char* grouped_reject(const Conv2dProblem& problem, bool dgrad);

// The rows of the grid in tasks whose slabs have so many rows at most, and tasks enough for the
// threads.
EvenParts rows_of_tasks(const Gather& gather, int64_t bundles, int64_t slab_rows, int threads);

GroupedPlan grouped_plan(const GroupedGather& gather, int64_t lanes, int threads);

}  // namespace fastconv::cpu
