#include "cpu/conv2d/grouped_tiles_plan.h"

#include <algorithm>

#include "cpu/amx/blocking.h"
#include "cpu/conv2d/grouped_plan.h"

namespace fastconv::cpu {
namespace {

// A slab stays in L2 beside the weights and the output.
constexpr int64_t kSlabBytes = 256 * 1024;
constexpr int64_t kPixelBytes = kAmxStep * 2;
// A tile reads on by as many steps as it has rows, be they of the image or not.
constexpr int64_t kLargestStride = 32;

int64_t tiles_of_rows(const GroupedTilesPlan& plan, const Gather& g) {
  return plan.rows.largest() * ceil_div(g.x.grid_w, kAmxTileRows);
}
int64_t tiles_of_joined_rows(const GroupedTilesPlan& plan, const Gather& g) {
  return ceil_div((plan.rows.largest() - 1) * plan.slab_columns + g.x.grid_w, kAmxTileRows);
}

}  // namespace

const char* grouped_tiles_reject(const Conv2dProblem& p, bool dgrad) {
  const bool too_wide = !dgrad && p.Q > 1 && p.stride.w > kLargestStride;
  return too_wide ? "is for strides of at most 32" : grouped_reject(p, dgrad);
}

Range channels_of_filters(const Gather& g, const GroupedTilesPlan& plan, int64_t filter) {
  const int64_t end = std::min(filter + kAmxTileRows, plan.groups_a_bundle * g.filters);
  if (end <= filter) return {0, 0};
  const int64_t first = filter / g.filters, last = (end - 1) / g.filters;
  return {first * g.x.channels, (last + 1 - first) * g.x.channels};
}

GroupedTilesPlan grouped_tiles_plan(const Gather& g, int terms, int threads) {
  GroupedTilesPlan plan{};
  const int64_t most = std::max<int64_t>({g.x.channels, g.filters, 1});
  plan.groups_a_bundle = std::clamp<int64_t>(kAmxStep / most, 1, std::max<int64_t>(g.groups, 1));
  plan.bundles = ceil_div(g.groups, plan.groups_a_bundle);
  plan.panels = ceil_div(plan.groups_a_bundle * g.filters, 2 * kAmxTileRows);

  plan.pixel_step = g.x.grid_w > 1 ? g.x.step.w : 1;
  const Reach rows = reach_of(g.x.rows), columns = reach_of(g.x.columns);
  plan.slab_columns = (g.x.grid_w - 1) * plan.pixel_step + columns.high - columns.low + 1;
  const int64_t row_bytes = plan.slab_columns * kPixelBytes * terms;
  plan.rows = rows_of_tasks(g, plan.bundles, kSlabBytes / row_bytes, threads);
  plan.slab_rows = (plan.rows.largest() - 1) * g.x.step.h + rows.high - rows.low + 1;

  // A step of one column and row is a step of one pixel throughout the slab.
  const bool can_join = g.x.step.w == 1 && g.x.step.h == 1;
  const int64_t joined = tiles_of_joined_rows(plan, g), apart = tiles_of_rows(plan, g);
  plan.joins_rows = can_join && joined < apart;
  plan.tiles = plan.joins_rows ? joined : apart;
  return plan;
}

}  // namespace fastconv::cpu
