#include "cpu/conv2d/partition.h"

#include <algorithm>

namespace fastconv::cpu {
namespace {

// Time of one block, in multiply-adds. Packing one row of A or one column of B costs about as much
// as eight multiply-adds for each element.
int64_t time_of_block(const Partition& partition) {
  constexpr int64_t kPacking = 8;
  const int64_t rows = partition.rows.largest(), columns = partition.columns.largest();
  return rows * columns + kPacking * (rows + columns);
}

}  // namespace

Partition partition_c(int64_t rows, int64_t columns, const TileUnits& units, int64_t largest_block,
                      int64_t copies, int threads) {
  Partition smallest{};
  smallest.columns = EvenParts::at_most(columns, kBlockColumns, units.columns);
  const int64_t most_rows = largest_block / round_up(smallest.columns.largest() + 1, units.columns);
  smallest.rows = EvenParts::at_most(rows, std::max<int64_t>(most_rows, 1), units.rows);
  if (threads == 1 || rows == 0 || columns == 0) return smallest;

  Partition best = smallest;
  int64_t best_time = -1;
  const int64_t row_units = ceil_div(rows, units.rows);
  const int64_t column_units = ceil_div(columns, units.columns);
  for (int64_t more_columns = 0; more_columns <= threads; ++more_columns) {
    for (int64_t more_rows = 0; more_rows <= threads; ++more_rows) {
      Partition candidate = smallest;
      candidate.columns.parts = std::min(smallest.columns.parts + more_columns, column_units);
      candidate.rows.parts = std::min(smallest.rows.parts + more_rows, row_units);
      const int64_t rounds = ceil_div(candidate.blocks() * copies, threads);
      const int64_t time = rounds * time_of_block(candidate);
      if (best_time < 0 || time < best_time) {
        best = candidate;
        best_time = time;
      }
    }
  }
  return best;
}

}  // namespace fastconv::cpu
