#include "cpu/conv2d/cost.h"

#include <algorithm>
#include <cmath>

#include "cpu/conv2d/direct_wgrad_plan.h"
#include "cpu/conv2d/grouped_plan.h"
#include "cpu/conv2d/inside_taps.h"

namespace fastconv::cpu {
namespace {

// Fitted to the ratios of im2col, F2 and F4 over 20 layers of 3 to 512 channels on 7 to 112 pixels,
// both layouts, fprop with and without packed weights and dgrad: by these numbers the dispatcher
// takes 1.05 times the time of the best of the three, on average.

// Multiply-adds a second of one core in the middle of a large GEMM, and in Winograd's many small
// ones, whose operands stream from L2 and beyond.
double gemm_rate(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return 2e9;
    case Isa::avx2:
      return 15e9;
    default:
      return 40e9;
  }
}
double winograd_rate(Isa isa) { return isa == Isa::avx2 ? 15e9 : 25e9; }

// Bytes a second of one core.
constexpr double kTransforms = 28e9;
constexpr double kStreamedWeights = 9e9;
constexpr double kPackedPixels = 12e9;   // im2col while packing
constexpr double kPackedWeights = 12e9;  // weights while packing
constexpr double kTransformedWeights = 2.2e9;
constexpr double kFreshMemory = 1.5e9;  // the same where the workspace is mapped anew each call
// Winograd's gradient of the weight: its products' share of the rate of a large GEMM, the
// transforms of both operands, and that of the sums. Fitted to ten layers of 64 to 512 channels on
// 14 to 56 pixels, batch 1 and 8.
constexpr double kShareInManySums = 0.85;
constexpr double kWgradTransformsF4 = 8e9, kWgradTransformsF2 = 19e9;
constexpr double kTransformedSums = 5.5e9;
constexpr double kLargestKeptByMalloc = 1 << 25;  // glibc's

// Multiply-adds a second of the depthwise gradient of the weight for one channel of many filters in
// channels_last: other kernels are up to 2.6 times as fast.
constexpr double kOneChannelInPixels = 6e9;

// Vectors a second that are permuted and multiplied, one in a cycle; elements a second of weights
// gathered lane by lane.
constexpr double kPermutedProducts = 2.2e9;
constexpr double kGatheredWeights = 0.8e9;

// Two threads take 1.9 times as much off an even load.
double speed_up(int threads) { return 1 + 0.95 * (threads - 1); }

double as_double(int64_t x) { return static_cast<double>(x); }

// The product of one group, times the groups. Filters that are the columns of C fill whole vectors.
// share: of the products, those that are formed, as InsideTaps has it.
double im2col_gemm_seconds(double pixels, double depth, double share, int64_t filters,
                           int64_t groups, bool filters_are_columns, bool packs_weights, Isa isa,
                           int threads) {
  const int64_t lanes = isa == Isa::scalar ? 4 : isa == Isa::avx2 ? 8 : 16;
  const double width = as_double(filters_are_columns ? round_up(filters, lanes) : filters);
  // A tile of fewer rows than this waits for its loads.
  constexpr double kLeastRows = 6;
  const double products = share * pixels * depth * std::max(width, kLeastRows) / gemm_rate(isa);
  // Each side is packed once for every block of the other, the weight once where products with
  // padding are left out.
  const double for_pixels = share * depth * pixels * std::max(width / 256, 1.0) * sizeof(float);
  const double times = share < 1 ? 1.0 : std::max(pixels / 256, 1.0);
  const double for_weights = packs_weights ? depth * width * times * sizeof(float) : 0;
  return as_double(groups) *
         (products + for_pixels / kPackedPixels + for_weights / kPackedWeights) / speed_up(threads);
}

double tiles_of(const WinogradConv& conv, int64_t outputs) {
  const TileAxis rows{outputs, conv.dilation.h, conv.out_height};
  const TileAxis columns{outputs, conv.dilation.w, conv.out_width};
  return as_double(conv.images) * as_double(rows.tiles()) * as_double(columns.tiles());
}

double share_of_products(const Gather& gather, Isa isa) {
  return InsideTaps(gather, blocking_for(isa).tile_rows).share();
}

}  // namespace

double winograd_seconds(const WinogradConv& conv, int64_t outputs, Isa isa, bool weight_is_packed,
                        int threads) {
  // For AVX2 too: the transforms of half as wide vectors take as long.
  constexpr int64_t lanes = 16;
  const double points = as_double((outputs + 2) * (outputs + 2));
  const double tiles = tiles_of(conv, outputs);
  const double channels = as_double(round_up(conv.channels, lanes));
  const double filters = as_double(round_up(conv.filters, lanes));
  const double floats = sizeof(float);
  // A tile of the GEMM has up to 14 rows; below 8 the panel's loads outweigh the products.
  const double rows = std::max(tiles, std::min(2 * tiles, 8.0));
  const double products = points * rows * channels * filters / winograd_rate(isa);
  const double arrays = points * tiles * (channels + filters) * 2 * floats / kTransforms;
  const double weight = points * channels * filters * floats;
  const double transform =
      weight_is_packed
          ? 0
          : weight / (weight > kLargestKeptByMalloc ? kFreshMemory : kTransformedWeights);
  constexpr double kStage = 5e-6;  // waking the threads
  return (products + arrays + weight / kStreamedWeights + transform) / speed_up(threads) +
         (threads > 1 ? 3 * kStage : 0);
}

double winograd_wgrad_seconds(const WinogradConv& conv, int64_t outputs, Isa isa, int threads) {
  constexpr int64_t lanes = 16;
  const double points = as_double((outputs + 2) * (outputs + 2));
  const double tiles = tiles_of(conv, outputs);
  const double channels = as_double(round_up(conv.channels, lanes));
  const double filters = as_double(round_up(conv.filters, lanes));
  const double floats = sizeof(float);
  const WinogradWgradBlocks blocks = winograd_wgrad_blocks(conv, lanes, threads);
  // Adding a running sum to U takes as long as the products of five tiles.
  const double sums = std::ceil(tiles / as_double(winograd_wgrad_chunk(conv, outputs)));
  const double products =
      points * (tiles + 5 * sums) * channels * filters / (kShareInManySums * gemm_rate(isa));
  const double arrays =
      points * tiles * floats * 2 *
      (channels * as_double(blocks.filters.parts) + filters * as_double(blocks.channels.parts));
  const double transforms = arrays / (outputs == 4 ? kWgradTransformsF4 : kWgradTransformsF2);
  const double weight = points * channels * filters * 2 * floats / kTransformedSums;
  const int workers = static_cast<int>(std::min<int64_t>(threads, blocks.count()));
  return (products + transforms + weight) / speed_up(workers);
}

double direct_wgrad_seconds(const Conv2dProblem& p, Isa isa, int threads) {
  constexpr int64_t lanes = 16;
  const double products = as_double(p.groups) * direct_wgrad_vectors(p, lanes) * as_double(lanes);
  const double pixels = as_double(p.N) * as_double(p.P) * as_double(p.Q);
  const double copies = pixels * as_double(p.C + p.K) * sizeof(float);
  return (products / gemm_rate(isa) + copies / kPackedPixels) / speed_up(threads);
}

double depthwise_wgrad_seconds(const Conv2dProblem& p, int threads) {
  constexpr int64_t kFewFilters = 16;
  if (p.groups > 1 || p.output.c != 1 || p.K < kFewFilters) return 0;
  const double pixels = as_double(p.N) * as_double(p.P) * as_double(p.Q);
  return pixels * as_double(p.K * p.R * p.S) / kOneChannelInPixels / speed_up(threads);
}

double grouped_seconds(const Gather& gather, int64_t lanes, bool weight_is_packed, int threads) {
  const GroupedPlan plan = grouped_plan(gather, lanes, threads);
  const double vectors = as_double(plan.bundles * plan.vectors_a_bundle) * as_double(plan.depth);
  const double products = vectors * as_double(gather.x.pixels()) / kPermutedProducts;
  const double packing = weight_is_packed ? 0 : vectors * as_double(lanes) / kGatheredWeights;
  return (products + packing) / speed_up(threads);
}

double im2col_fprop_seconds(const Conv2dProblem& p, Isa isa, int threads) {
  const bool filters_are_columns = p.output.c == 1;
  const double share = share_of_products(fprop_gather(p), isa);
  const bool has_panels = p.weight_is_packed && (filters_are_columns || share < 1);
  return im2col_gemm_seconds(
      as_double(p.N) * as_double(p.P * p.Q), as_double(p.group_in_channels() * p.R * p.S), share,
      p.group_out_channels(), p.groups, filters_are_columns, !has_panels, isa, threads);
}

double im2col_dgrad_seconds(const Conv2dProblem& p, Isa isa, int threads) {
  // Of the taps, each pixel takes part in those that its residue modulo the stride allows.
  const double taps = as_double(p.R * p.S) / as_double(p.stride.h) / as_double(p.stride.w);
  return im2col_gemm_seconds(as_double(p.N) * as_double(p.H * p.W),
                             as_double(p.group_out_channels()) * taps,
                             share_of_products(dgrad_gather(p, 0, 0), isa), p.group_in_channels(),
                             p.groups, p.input.c == 1, true, isa, threads);
}

}  // namespace fastconv::cpu
