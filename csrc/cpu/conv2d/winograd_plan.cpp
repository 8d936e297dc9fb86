#include "cpu/conv2d/winograd_plan.h"

#include <algorithm>

namespace fastconv::cpu {
namespace {

// V and M of a block of tiles together. A small block stays in L2 from stage to stage (1 MB of it
// here); a large one reads U less often, once a block. Measured: 64 and 128 channels want about
// 1.2 MB, 256 half of U (4.7 MB), 512 more than 8 MB.
constexpr int64_t kSmallestBlock = 1200 * 1024, kLargestBlock = 16 * 1024 * 1024;

// Threads that share a block wait for each other after each stage: three times a block, each up to
// a time slice where other programs run too (76 ms instead of 2 for 64 channels of 56 x 56). With
// blocks of their own they meet once, and V and M stay in their own L2 (256 channels of 56 x 56: 54
// ms -> 16), but each reads all of U, from L3 where L2 does not hold it: as long as the products of
// 25 tiles take.
constexpr int64_t kOwnTiles = 14, kOwnTilesOfLargeU = 20, kSmallU = 1024 * 1024;

// Filters and channels of one task of the gradient of the weight, and V and M of one of its running
// sums: small enough that they and U come from L2 and the near part of L3. 256 x 256 in one task
// lost 0 to 15 % on 14 x 14 to 56 x 56, sums of 128 tiles up to 20 %.
constexpr int64_t kMostOfWeight = 128;
constexpr int64_t kSumBytes = 600 * 1024, kFewestTiles = 32;

// A group has vectors of its own.
constexpr int64_t kFewestOfGroup = 16;

// Below, vectors are all but empty, and of so few numbers a gradient of the weight may lose more
// digits than it should: up to 2.1e-6 of one channel and one filter.
constexpr int64_t kFewestOf5x5 = 4;

bool is_dense_enough(const Strides4& s, int64_t channels, int64_t columns) {
  return s.w == 1 || columns == 1 || s.c == 1 || channels == 1;
}

// Whether windows of five taps find few of them inside the image, or pixels of the result are few.
// The transforms' error is of all taps, as large where few of them count: with 512 channels up to
// 3e-6 of the result on planes of 3 x 3 pixels, 2.1e-6 from 2 x 2 to 4 x 4.
bool is_too_small_for_five(int64_t extent, int64_t outputs, int64_t dilation) {
  return ceil_div(std::max(extent, outputs), dilation) <= 3 ||
         ceil_div(std::min(extent, outputs), dilation) <= 2;
}

WinogradPlan without_blocks(const WinogradConv& conv, int64_t outputs, int64_t lanes, int64_t panel,
                            int64_t depth, int64_t row_stride) {
  WinogradPlan plan{};
  plan.outputs = outputs;
  plan.points = winograd_points(conv, outputs);
  plan.rows = {outputs, conv.dilation.h, conv.out_height};
  plan.columns = {outputs, conv.dilation.w, conv.out_width};
  plan.tile_rows = plan.rows.tiles();
  plan.tile_columns = plan.columns.tiles();
  plan.images = conv.images;
  plan.channels = conv.channels;
  plan.filters = conv.filters;
  plan.lanes = lanes;
  plan.panel = panel;
  plan.depth = depth;
  plan.row_stride = row_stride;
  plan.lane_channels = round_up(conv.channels, lanes);
  plan.points_per_row = std::max<int64_t>(depth / std::max<int64_t>(plan.lane_channels, 1), 1);
  plan.rows_per_point = std::max<int64_t>(ceil_div(conv.channels, depth), 1);
  plan.panels = ceil_div(conv.filters, panel);
  plan.m_stride = BlockOfC<float>::stride_for(conv.filters + lanes - 1);
  return plan;
}

// Blocks of multiples of `unit` tiles, by what V of one tile and U take.
void cut_blocks(WinogradPlan& plan, int64_t v_bytes, int64_t u_bytes, int64_t unit, int threads) {
  const int64_t own_tiles = u_bytes <= kSmallU ? kOwnTiles : kOwnTilesOfLargeU;
  plan.workers = plan.tiles() / threads >= own_tiles ? threads : 1;
  const int64_t tile = v_bytes + plan.tile_points() * plan.m_stride * int64_t{sizeof(float)};
  const int64_t largest = std::max(kLargestBlock / plan.workers, kSmallestBlock);
  const int64_t bytes = std::clamp(u_bytes / 2, kSmallestBlock, largest);
  plan.blocks = EvenParts::at_most(plan.tiles(), std::max<int64_t>(bytes / tile, 1), unit);
  plan.blocks.parts = round_up(plan.blocks.parts, plan.workers);
}

// After the blocks.
void place_points(WinogradPlan& plan) {
  plan.block_tiles = plan.blocks.largest();
  const int64_t row = plan.block_tiles * plan.row_stride;
  for (int64_t e = 0; e < plan.tile_points(); ++e) {
    plan.v_point[e] = plan.rows_per_point > 1 ? e * plan.rows_per_point * row
                                              : e / plan.points_per_row * row +
                                                    e % plan.points_per_row * plan.lane_channels;
    plan.u_point[e] = e * (plan.u_point_elements() + WinogradPlan::kLineBetween);
  }
}

}  // namespace

WinogradConv winograd_fprop(const Conv2dProblem& p) {
  const int64_t channels = p.group_in_channels(), filters = p.group_out_channels();
  return {p.R,
          p.N,
          channels,
          filters,
          p.H,
          p.W,
          p.P,
          p.Q,
          p.pad.h,
          p.pad.w,
          p.dilation,
          p.input,
          p.output,
          p.weight,
          0,
          p.groups,
          channels * p.input.c,
          filters * p.output.c,
          filters * p.weight.n};
}

WinogradConv winograd_dgrad(const Conv2dProblem& p) {
  const int64_t channels = p.group_in_channels(), filters = p.group_out_channels();
  const Strides4 turned{p.weight.c, p.weight.n, -p.weight.h, -p.weight.w};
  return {p.R,
          p.N,
          filters,
          channels,
          p.P,
          p.Q,
          p.H,
          p.W,
          (p.R - 1) * p.dilation.h - p.pad.h,
          (p.S - 1) * p.dilation.w - p.pad.w,
          p.dilation,
          p.output,
          p.input,
          turned,
          (p.R - 1) * p.weight.h + (p.S - 1) * p.weight.w,
          p.groups,
          filters * p.output.c,
          channels * p.input.c,
          filters * p.weight.n};
}

const char* winograd_reject(const Conv2dProblem& p, int64_t taps) {
  if (p.R != taps || p.S != taps) return taps == 3 ? "is for 3x3 windows" : "is for 5x5 windows";
  if (p.stride.h != 1 || p.stride.w != 1) return "is for stride 1";
  if (p.C == 0 || p.K == 0) return "is for tensors that are not empty";
  if (taps == 5) {
    if (is_too_small_for_five(p.H, p.P, p.dilation.h) ||
        is_too_small_for_five(p.W, p.Q, p.dilation.w)) {
      return "is for 3 pixels a dilation or more on one side of the convolution, and 4 on the "
             "other";
    }
    if (std::min(p.C, p.K) < kFewestOf5x5) return "is for 4 channels and filters or more";
  }
  if (p.groups > 1 && std::min(p.group_in_channels(), p.group_out_channels()) < kFewestOfGroup) {
    return "is for groups of 16 channels and filters or more";
  }
  if (!is_dense_enough(p.input, p.C, p.W) || !is_dense_enough(p.output, p.K, p.Q)) {
    return "is for images whose columns or channels are contiguous";
  }
  // The counts of tiles and points then stay far from overflow.
  constexpr int64_t kFarAway = int64_t{1} << 40;
  if (p.dilation.h > kFarAway || p.dilation.w > kFarAway || p.P > kFarAway || p.Q > kFarAway ||
      p.pad.h > p.H + (taps - 1) * p.dilation.h || p.pad.w > p.W + (taps - 1) * p.dilation.w) {
    return "is for padding no larger than the image and its window";
  }
  return nullptr;
}

WinogradPlan winograd_plan(const WinogradConv& conv, int64_t outputs, int64_t lanes, int64_t panel,
                           int64_t depth, int64_t row_stride, int threads) {
  WinogradPlan plan = without_blocks(conv, outputs, lanes, panel, depth, row_stride);
  constexpr int64_t kFloat = sizeof(float);
  cut_blocks(plan, plan.row_groups() * row_stride * kFloat, plan.u_elements() * kFloat, 1, threads);
  place_points(plan);
  return plan;
}

WinogradPlan winograd_tile_plan(const WinogradConv& conv, int64_t outputs, int64_t lanes,
                                int64_t unit, int64_t row_bytes, int threads) {
  WinogradPlan plan =
      without_blocks(conv, outputs, lanes, unit, std::max<int64_t>(conv.channels, 1), 0);
  const int64_t u_bytes = plan.tile_points() * plan.panels * unit * row_bytes;
  // Half of what V has room for: threads share fewer tiles more evenly.
  cut_blocks(plan, plan.tile_points() * row_bytes, u_bytes, unit / 2, threads);
  plan.block_tiles = round_up(plan.blocks.largest(), unit);
  return plan;
}

int64_t winograd_wgrad_chunk(const WinogradConv& conv, int64_t outputs) {
  const int64_t width =
      std::min(conv.channels, kMostOfWeight) + std::min(conv.filters, kMostOfWeight);
  const int64_t points = winograd_points(conv, outputs);
  const int64_t tile = points * points * width * static_cast<int64_t>(sizeof(float));
  return std::clamp(kSumBytes / tile, kFewestTiles, kLongestSum);
}

WinogradPlan winograd_wgrad_plan(const WinogradConv& conv, int64_t chunk, int64_t outputs,
                                 int64_t lanes, int64_t panel, int64_t depth, int64_t row_stride) {
  WinogradPlan plan = without_blocks(conv, outputs, lanes, panel, depth, row_stride);
  plan.workers = 1;
  plan.blocks = EvenParts::at_most(plan.tiles(), chunk, 1);
  place_points(plan);
  return plan;
}

WinogradWgradBlocks winograd_wgrad_blocks(const WinogradConv& conv, int64_t lanes, int threads) {
  WinogradWgradBlocks blocks{EvenParts::at_most(conv.filters, kMostOfWeight, lanes),
                             EvenParts::at_most(conv.channels, kMostOfWeight, lanes)};
  while (blocks.count() < threads) {
    EvenParts& longer =
        blocks.filters.largest() > blocks.channels.largest() ? blocks.filters : blocks.channels;
    if (longer.largest() <= lanes) break;
    longer.parts = std::min(2 * longer.parts, ceil_div(longer.extent, lanes));
  }
  return blocks;
}

}  // namespace fastconv::cpu
