// How the matrix C of a convolution is cut into blocks, one task each.
#pragma once

#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {

struct Partition {
  EvenParts rows, columns;

  int64_t blocks() const { return rows.parts * columns.parts; }
};

// What blocks are cut in multiples of.
struct TileUnits {
  int64_t rows, columns;
};

// Blocks no larger than the caches like, and cut further where that shares the work better:
// `copies` such matrices (groups) go to `threads` threads. No sum depends on the cut.
Partition partition_c(int64_t rows, int64_t columns, const TileUnits& units, int64_t largest_block,
                      int64_t copies, int threads);

}  // namespace fastconv::cpu
