#include "cpu/conv2d/depthwise_geometry.h"

namespace fastconv::cpu {
namespace {

constexpr int64_t kMostColumns = 1024;
constexpr int64_t kLeastRows = 8;

int64_t most_slots(const Axis& axis, int64_t rows) {
  int64_t most = 0;
  for (int64_t index = 0; index < axis.classes(); ++index) {
    const TapClass taps = axis.tap_class(index);
    most = std::max(most, row_layout(axis, taps.taps, taps.in_spacing, rows).slots);
  }
  return most;
}

}  // namespace

BlockPlan block_plan(const Axes& axes, int64_t lanes, int64_t element_bytes) {
  BlockPlan plan{};
  const int64_t all_rows = axes.row.most_outs(), all_cols = axes.col.most_outs();
  plan.cols = std::min(all_cols, kMostColumns);
  plan.columns = column_layout(axes.col, plan.cols, lanes);
  plan.row_elements = plan.columns.arrays * plan.columns.pitch;
  plan.rows = all_rows;
  while (plan.rows > kLeastRows &&
         most_slots(axes.row, plan.rows) * plan.row_elements * element_bytes > kScratchBytes) {
    plan.rows = round_up((plan.rows + 1) / 2, 4);
  }
  if (plan.rows < 1) plan.rows = 1;
  if (plan.cols < 1) plan.cols = 1;
  plan.slots = most_slots(axes.row, plan.rows);
  plan.row_blocks = (all_rows + plan.rows - 1) / plan.rows;
  plan.col_blocks = (all_cols + plan.cols - 1) / plan.cols;
  return plan;
}

int64_t class_tables_bytes(const Axes& axes) {
  const int64_t bytes = axes.row.classes() * int64_t{sizeof(TapClass)} +
                        axes.col.classes() * int64_t{sizeof(ColumnTaps)} +
                        axes.col.taps * int64_t{sizeof(int64_t)};
  return round_up(bytes, 64);
}

ClassTables make_class_tables(const Axes& axes, const ColumnLayout& layout, std::byte* workspace) {
  ClassTables tables{};
  tables.rows = reinterpret_cast<TapClass*>(workspace);
  tables.cols = reinterpret_cast<ColumnTaps*>(tables.rows + axes.row.classes());
  int64_t* columns = reinterpret_cast<int64_t*>(tables.cols + axes.col.classes());
  for (int64_t index = 0; index < axes.row.classes(); ++index) {
    const TapClass taps = axes.row.tap_class(index);
    if (taps.outs > 0) tables.rows[tables.row_count++] = taps;
  }
  for (int64_t index = 0; index < axes.col.classes(); ++index) {
    const TapClass taps = axes.col.tap_class(index);
    if (taps.outs == 0) continue;
    tables.cols[tables.col_count++] = {taps, columns};
    for (int64_t b = 0; b < taps.taps; ++b) {
      *columns++ = layout.column(axes.col, taps.first_tap + b * taps.tap_step);
    }
  }
  return tables;
}

}  // namespace fastconv::cpu
