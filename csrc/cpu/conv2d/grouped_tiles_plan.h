// How a grouped convolution of few channels is laid over AMX tiles: the channels of several groups
// side by side in one step of the reduction, their filters in one panel of 32.
#pragma once

#include <cstdint>

#include "cpu/conv2d/gather.h"
#include "cpu/conv2d/partition.h"

namespace fastconv::cpu {

struct GroupedTilesPlan {
  int64_t groups_a_bundle;  // groups whose channels share a step
  int64_t bundles;
  int64_t panels;   // of 32 filters of a bundle
  EvenParts rows;   // how the tasks cut the rows of the grid
  bool joins_rows;  // tiles go on from one row of the grid to the next, over what lies between them
  int64_t tiles;    // of 16 pixels, that cover the rows of a task

  // Pixels of the slab from one pixel of a row of the grid to the next: the stride, where there is
  // a next one.
  int64_t pixel_step;

  // What a task reads of a bundle, copied with the padding: rows and columns from the least that a
  // tap reads to the greatest.
  int64_t slab_rows, slab_columns;

  int64_t tasks(const Gather& gather) const { return gather.x.images * rows.parts * bundles; }
  int64_t slab_pixels() const { return slab_rows * slab_columns; }
};

// Why this problem is not for the tiles, though it may be for the vectors; or nullptr.
const char* grouped_tiles_reject(const Conv2dProblem& problem, bool dgrad);

// The channels of a bundle that 16 of its filters, from `filter` on, are the weights of.
Range channels_of_filters(const Gather& gather, const GroupedTilesPlan& plan, int64_t filter);

GroupedTilesPlan grouped_tiles_plan(const Gather& gather, int terms, int threads);

}  // namespace fastconv::cpu
