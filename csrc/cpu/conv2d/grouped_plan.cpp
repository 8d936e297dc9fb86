#include "cpu/conv2d/grouped_plan.h"

#include <algorithm>

#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {
namespace {

// Beyond this many channels a group fills the tiles of the GEMM.
constexpr int64_t kMostChannels = 32;
// A slab stays in L2 beside the weights and the output.
constexpr int64_t kSlabBytes = 64 * 1024;
// Windows so tall and wide that one row of the grid needs more are left to the GEMM.
constexpr int64_t kLargestSlab = 1024 * 1024;

// Rounds down; `up` is 1 or 2.
int64_t column_of(int64_t at, int64_t up) { return up == 1 ? at : (at - (at & 1)) / 2; }

}  // namespace

bool takes_columns_together(const Conv2dProblem& p) {
  return p.S == 3 && p.stride.w == 2 && p.dilation.w == 1;
}

GroupedGather dgrad_gather_of_columns_together(const Conv2dProblem& p, int64_t row_residue) {
  Gather g = dgrad_gather(p, row_residue, 0);
  g.x.grid_w = p.W;
  g.x.columns = {p.S, p.pad.w, -1, 0, 1};
  g.y.w = p.input.w;
  return {g, p.stride.w};
}

const char* grouped_reject(const Conv2dProblem& p, bool dgrad) {
  if (p.groups == 1) return "is for several groups";
  const int64_t channels = dgrad ? p.group_out_channels() : p.group_in_channels();
  const int64_t filters = dgrad ? p.group_in_channels() : p.group_out_channels();
  if (channels < 1 || channels > kMostChannels || filters < 1) {
    return "is for 1 to 32 channels per group";
  }
  if (p.H < 1 || p.W < 1 || p.P < 1 || p.Q < 1) return "is for images with pixels";
  // All that a row of outputs could read, in floats without overflow: no window is wider than the
  // padded image.
  const double rows = static_cast<double>(p.R - 1) * static_cast<double>(p.dilation.h) + 1;
  const double columns = static_cast<double>(p.W + 2 * p.pad.w) + static_cast<double>(p.Q) +
                         static_cast<double>(p.S - 1) * static_cast<double>(p.dilation.w);
  const double bytes = rows * columns * static_cast<double>(round_up(channels, 16) * 4);
  return bytes > static_cast<double>(kLargestSlab) ? "is for rows whose windows fit in 1 MiB"
                                                   : nullptr;
}

EvenParts rows_of_tasks(const Gather& g, int64_t bundles, int64_t slab_rows, int threads) {
  const Reach reach = reach_of(g.x.rows);
  const int64_t room = (slab_rows - (reach.high - reach.low + 1)) / g.x.step.h + 1;
  const int64_t tasks = std::max<int64_t>(1, g.x.images * bundles);
  const int64_t wanted = threads == 1 ? 1 : ceil_div(4 * int64_t{threads}, tasks);
  const int64_t most = std::min(std::max<int64_t>(1, room), ceil_div(g.x.grid_h, wanted));
  return EvenParts::at_most(g.x.grid_h, std::max<int64_t>(1, most), 1);
}

GroupedPlan grouped_plan(const GroupedGather& g, int64_t lanes, int threads) {
  GroupedPlan plan{};
  plan.lanes = lanes;
  const int64_t fit = g.filters > 0 && lanes % g.filters == 0 ? lanes / g.filters : 1;
  plan.groups_a_bundle = fit * g.x.channels <= lanes ? std::min(fit, g.groups) : 1;
  plan.bundles = ceil_div(g.groups, plan.groups_a_bundle);
  plan.vectors_a_bundle = plan.groups_a_bundle > 1 ? 1 : ceil_div(g.filters, lanes);
  plan.chunks = ceil_div(plan.groups_a_bundle * g.x.channels, lanes);
  plan.depth = g.x.depth();
  plan.taps_a_sum = std::max<int64_t>(1, kLongestSum / std::max<int64_t>(1, g.x.channels));

  const Reach rows = reach_of(g.x.rows), columns = reach_of(g.x.columns);
  plan.first_column = column_of(columns.low, g.up);
  const int64_t last_column = column_of((g.x.grid_w - 1) * g.x.step.w + columns.high, g.up);
  plan.slab_columns = last_column - plan.first_column + 1;
  const int64_t row_bytes = plan.slab_columns * plan.chunks * lanes * int64_t{sizeof(float)};
  plan.rows = rows_of_tasks(g, plan.bundles, kSlabBytes / row_bytes, threads);
  plan.slab_rows = (plan.rows.largest() - 1) * g.x.step.h + rows.high - rows.low + 1;
  return plan;
}

}  // namespace fastconv::cpu
