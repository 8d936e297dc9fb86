#include "cpu/conv2d/grouped_wgrad_plan.h"

#include <algorithm>

namespace fastconv::cpu {
namespace {

// Beyond this many channels or filters a group fills the tiles of direct_wgrad: at 16 this takes
// 0.9 of its time in NCHW and 0.4 in channels_last, at 32 1.4.
constexpr int64_t kMostChannels = 16;
// 3 x 3 sums in registers for each filter.
constexpr int64_t kTapsAtOnce = 3;
// The vectors of a block stay in L2 while every filter passes over them.
constexpr int64_t kSlabBytes = 64 * 1024;
// Larger windows are left to the GEMM, and so are rows of which one needs as much.
constexpr double kLargestScratch = 1024 * 1024;
// Tasks for threads to share, each of some blocks.
constexpr int64_t kWantedTasks = 16;
constexpr int64_t kLeastBlocks = 4;

double as_double(int64_t x) { return static_cast<double>(x); }

// Rows and columns of the input that one row of outputs reads.
double row_bytes(const Conv2dProblem& p) {
  const double rows = as_double(p.R - 1) * as_double(p.dilation.h) + 1;
  const double columns =
      as_double(p.Q - 1) * as_double(p.stride.w) + as_double(p.S - 1) * as_double(p.dilation.w) + 1;
  const double vectors = as_double(ceil_div(kMostChannels, 8));
  return rows * columns * vectors * 8 * sizeof(float);
}

}  // namespace

const char* grouped_wgrad_reject(const Conv2dProblem& p) {
  if (p.groups == 1) return "is for several groups";
  const int64_t channels = p.group_in_channels(), filters = p.group_out_channels();
  if (channels < 1 || channels > kMostChannels || filters < 1 || filters > kMostChannels) {
    return "is for 1 to 16 channels and filters per group";
  }
  const double sums = as_double(kMostChannels * kMostChannels * p.R) * as_double(p.S);
  if (sums * sizeof(float) > kLargestScratch || row_bytes(p) > kLargestScratch) {
    return "is for windows, and rows of windows, that fit in 1 MiB";
  }
  return nullptr;
}

GroupedWgradPlan grouped_wgrad_plan(const Conv2dProblem& p, int64_t lanes) {
  GroupedWgradPlan plan{};
  plan.lanes = lanes;
  const int64_t channels = p.group_in_channels(), filters = p.group_out_channels();
  plan.groups_a_bundle =
      std::clamp<int64_t>(lanes / std::max(channels, filters), 1, std::max<int64_t>(p.groups, 1));
  plan.bundles = ceil_div(p.groups, plan.groups_a_bundle);
  plan.channel_vectors = ceil_div(plan.groups_a_bundle * channels, lanes);
  plan.filter_vectors = ceil_div(plan.groups_a_bundle * filters, lanes);
  plan.row_taps = EvenParts::at_most(p.R, kTapsAtOnce, 1);
  plan.column_taps = EvenParts::at_most(p.S, kTapsAtOnce, 1);
  plan.sums = plan.channel_vectors * filters * p.R * p.S * lanes;

  plan.slab_columns = (p.Q - 1) * p.stride.w + (p.S - 1) * p.dilation.w + 1;
  const int64_t window = (p.R - 1) * p.dilation.h + 1;
  const int64_t line = plan.slab_columns * plan.channel_vectors * lanes * int64_t{sizeof(float)};
  const int64_t room = (kSlabBytes / line - window) / p.stride.h + 1;
  plan.rows = EvenParts::at_most(p.P, std::max<int64_t>(1, room), 1);
  plan.slab_rows = (plan.rows.largest() - 1) * p.stride.h + window;

  plan.blocks = p.N * plan.rows.parts;
  plan.parts = std::max<int64_t>(
      1, std::min(ceil_div(kWantedTasks, plan.bundles), plan.blocks / kLeastBlocks));
  return plan;
}

}  // namespace fastconv::cpu
