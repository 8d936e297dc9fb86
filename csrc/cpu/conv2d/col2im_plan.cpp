#include "cpu/conv2d/col2im_plan.h"

#include <algorithm>

#include "cpu/conv2d/neighbours.h"

namespace fastconv::cpu {
namespace {

// Columns of the product that a task has at least, where channels can be cut so: three blocks of B.
constexpr int64_t kColumns = 3 * kBlockColumns;
// Sums of a block of pixels: 128 KiB of floats, beside a block of B in L2. Where that is room for
// more columns of all pixels, pieces of the weight's rows are the longer for it.
constexpr int64_t kSums = 32 * 1024;
// Bounds of the workspace: columns of the finest block of channels, which an instruction set cuts
// in tiles of up to 32, and floats of the rows that a window reaches over, in blocks of 256
// channels.
constexpr int64_t kMostColumns = 2048, kWidestTile = 32;
constexpr int64_t kMostInRows = 1 << 20, kLargeBlock = 256;
// Blocks of pixels that are worth packing the weight for, and elements of a task's panels.
constexpr int64_t kFewBlocks = 2, kMostInPanels = 1 << 20;

int64_t rows_of_window(const Conv2dProblem& p) {
  return std::min(p.H, (p.R - 1) * p.dilation.h + 1);
}

}  // namespace

FilterOrder filter_order(const Conv2dProblem& p) {
  const Dimension channel{p.group_in_channels(), p.weight.c}, row{p.R, p.weight.h},
      column{p.S, p.weight.w};
  if (are_neighbours({{row, column, channel}})) return FilterOrder::channels_inner;
  if (are_neighbours({{channel, row, column}})) return FilterOrder::taps_inner;
  return FilterOrder::neither;
}

Col2imPlan::Col2imPlan(const Conv2dProblem& p, const Col2imTile& tile, int threads)
    : order(filter_order(p)), taps(p.R * p.S), groups(p.groups), rows(rows_of_window(p)) {
  const int64_t group_channels = p.group_in_channels();
  const int64_t unit = order == FilterOrder::channels_inner ? tile.columns : 1;
  const int64_t wanted_columns = std::max(kColumns, kSums / (p.N * p.P * p.Q + tile.lanes));
  channels = EvenParts::at_most(group_channels, std::max(wanted_columns / taps, unit), unit);
  images = {p.N, 1, 1};
  const int64_t others = groups * channels.parts;
  if (others < threads) {
    images.parts = std::min<int64_t>(p.N, ceil_div(threads, others));
    const int64_t wanted = ceil_div(threads, groups * images.parts);
    channels.parts = std::clamp(wanted, channels.parts,
                                std::max(channels.parts, ceil_div(group_channels, unit)));
  }
  const int64_t most = std::max(kSums / round_up(most_columns(), tile.lanes), 2 * tile.rows);
  const int64_t pixels = images.largest() * p.P * p.Q;
  const auto blocks = EvenParts::at_most(pixels, most, tile.rows);
  pixels_a_block = blocks.largest();
  packs_filters = blocks.parts >= kFewBlocks &&
                  p.group_out_channels() <= kMostInPanels / round_up(most_columns(), tile.columns);
}

const char* reject_col2im(const Conv2dProblem& p) {
  if (p.N == 0 || p.C == 0 || p.K == 0 || p.H == 0 || p.W == 0 || p.P == 0 || p.Q == 0) {
    return "is for tensors that are not empty";
  }
  if (p.R == 1 && p.S == 1) return "is for windows of more than one tap";
  if (filter_order(p) == FilterOrder::neither) {
    return "is for weights whose filters are contiguous, or channels_last";
  }
  const int64_t channels = p.group_in_channels();
  const int64_t fewest = std::min(channels, kWidestTile);
  if (p.R > kMostColumns || p.S > kMostColumns || p.R * p.S * fewest > kMostColumns) {
    return "is for windows of at most 2048 elements of 32 channels";
  }
  if (rows_of_window(p) * p.W > kMostInRows / std::min(channels, kLargeBlock)) {
    return "is for windows that reach over at most 2^20 elements of 256 channels";
  }
  return nullptr;
}

}  // namespace fastconv::cpu
