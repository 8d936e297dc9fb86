#include "cpu/conv2d/cost.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "algorithm_list.h"
#include "cpu/amx/blocking.h"
#include "cpu/conv2d/col2im_plan.h"
#include "cpu/conv2d/direct_wgrad_plan.h"
#include "cpu/conv2d/grouped_plan.h"
#include "cpu/conv2d/grouped_tiles_plan.h"
#include "cpu/conv2d/grouped_wgrad_plan.h"
#include "cpu/conv2d/inside_taps.h"
#include "cpu/conv2d/zero_borders.h"

namespace fastconv::cpu {
namespace {

// Fitted to the ratios of im2col, F2 and F4 over 20 layers of 3 to 512 channels on 7 to 112 pixels,
// both layouts, fprop with and without packed weights and dgrad: by these numbers the dispatcher
// takes 1.05 times the time of the best of the three, on average. Winograd's products and streamed
// weights fitted again on a CPU with 2 MiB of L2: 1.04 times there, over 9 layers of 3x3.

// Multiply-adds a second of one core in the middle of a large GEMM, and in Winograd's many small
// ones, whose operands stream from L2 and beyond.
double gemm_rate(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return 2e9;
    case Isa::avx2:
      return made_by_amd() ? 38e9 : 15e9;  // a Zen 4 has two units of 32 bytes for both
    default:
      return 40e9;
  }
}

// Bytes a second of one core.
constexpr double kTransforms = 28e9;
constexpr double kPackedPixels = 12e9;    // im2col while packing
constexpr double kPackedWeights = 12e9;   // weights while packing
constexpr double kTurnedWeights = 5e9;    // for dgrad, where the taps of a filter are neighbours
constexpr double kPickedWeights = 1.4e9;  // the same where a class of pixels has some of the taps
// dgrad with a stride, where the images are more than the caches near the core hold: bytes of
// grad_input a second, each class of whose pixels writes lines with gaps. Fitted, with the one
// above, to 18 layers of 2x2 to 5x5 on 28 x 28 to 536 x 536 pixels, both layouts, on a Zen 4.
constexpr double kGappedLines = 5e9, kNearCaches = 1 << 22;
constexpr double kLargestKeptByMalloc = 1 << 25;  // glibc's
// The cache behind L2 is where machines differ most: streamed weights, what Winograd makes of them,
// the same where it stays near the core, and where the workspace is mapped anew each call. On a Zen
// 4, which has 32 MB of that cache, fitted to dgrad of 14 layers of 3x3 on 7 to 28 pixels, relative
// to the other rates.
struct WeightRates {
  double streamed, transformed, few_transformed, fresh;

  double transforming(double bytes) const {
    return bytes > kLargestKeptByMalloc ? fresh
           : bytes > kNearCaches        ? transformed
                                        : few_transformed;
  }
};
WeightRates weight_rates() {
  return made_by_amd() ? WeightRates{20e9, 5.5e9, 10e9, 1.8e9}
                       : WeightRates{11e9, 2.2e9, 2.2e9, 1.5e9};
}
// Winograd's gradient of the weight: its products' share of the rate of a large GEMM, the
// transforms of both operands to six points and to four, and that of the sums. Fitted to ten layers
// of 3x3 with 64 to 512 channels on 14 to 56 pixels, batch 1 and 8; on a Zen 4, relative to the
// direct kernels, to 32 layers of 3x3 and 5x5 with 16 to 512 channels on 7 to 112 pixels.
struct WgradRates {
  double share_in_many_sums, six_points, four_points, sums;
};
WgradRates wgrad_rates() {
  return made_by_amd() ? WgradRates{1.1, 24e9, 32e9, 19e9} : WgradRates{0.85, 8e9, 19e9, 5.5e9};
}

// A few pixels: bytes of the weight a second, and seconds in which the lanes of a dot product are
// added up or an element of grad_input is stored.
double rows_of_weight() { return made_by_amd() ? 30e9 : 17e9; }
constexpr double kSumOfLanes = 1.3e-9, kStoredElement = 1e-9;

// col2im: a tile of its products takes so many steps of the reduction longer. Seconds of a sum that
// is added to what it is part of: among neighbours, of a run of them, and turned to become so.
// Fitted to 16 layers of 3 to 512 channels on 3 x 3 to 536 x 536 pixels, both layouts, on a Zen 4.
constexpr double kStepsOfTile = 6;
constexpr double kSum = 0.1e-9, kRunOfSums = 4e-9, kTurnedSum = 0.25e-9;
constexpr double kShareOfGemm = 0.8;  // of its rate

// The depthwise kernels for one channel of many filters: seconds of an output and of each of its
// products, in planes and in channels_last; and what a call of im2col takes more. Fitted to 16
// layers of 4 to 64 filters of 3x3 to 5x20, on 7 x 7 to 572 x 572 pixels.
constexpr double kOutputInPlanes = 0.2e-9, kProductInPlanes = 0.045e-9;
constexpr double kOutputInPixels = 2.5e-9, kProductInPixels = 0.06e-9;
constexpr double kSparedByDepthwise = 20e-6;

// Multiply-adds a second of the depthwise gradient of the weight for one channel of many filters in
// channels_last: other kernels are up to 2.6 times as fast.
constexpr double kOneChannelInPixels = 6e9;

// im2col for groups of few channels: the seconds that a run takes, and elements a second that are
// not neighbours.
constexpr double kShortRun = 6e-9;
constexpr double kStridedPixels = 0.67e9;

// Vectors a second that are permuted and multiplied, one in a cycle; elements a second of weights
// gathered lane by lane, and in squares.
constexpr double kPermutedProducts = 2.2e9;
constexpr double kGatheredWeights = 0.8e9, kTurnedLanes = 1.5e9;
// The same products for the gradient of the weight, whose sums wait for memory more often. Bytes a
// second that become vectors of channels.
constexpr double kPermutedSums = 1.2e9;
constexpr double kTurnedChannels = 5e9;

// A second of one core with AMX. All of it stands between what AMX does alone on its core (twice as
// much and more) and where another hardware thread keeps the core busy: the geometric mean of both,
// as the ratio to the vector units' rates above, which lose a third there; six products a tenth
// lower, as what they lose on a busy core weighs more than what they gain on a quiet one.
struct TermRates {
  double products;       // multiply-adds, each as the products of so many terms
  double elsewhere;      // the same of groups, whose sums are short, and of the gradient of the
                         // weight, which packs both operands
  double fetched;        // elements of x or grad_output: their first use
  double packed_pixels;  // im2col and splitting, from the caches
  double packed_weights;
  double moved_sums;  // from tiles to tensors
};
// Fitted to 20 layers of 3 to 2048 channels on 7 to 112 pixels in both layouts, fprop and dgrad.
constexpr TermRates amx_rates(int terms) {
  return terms == 1   ? TermRates{280e9, 200e9, 3e9, 5e9, 1.4e9, 10e9}
         : terms == 2 ? TermRates{92e9, 72e9, 3e9, 3.5e9, 1.1e9, 5e9}
                      : TermRates{55e9, 40e9, 2.6e9, 2.5e9, 0.6e9, 5e9};
}
// One term without AMX. Fitted to 12 layers of 3 to 2048 channels on 7 to 112 pixels in both
// layouts, on a Zen 4: twice the products of floats, and packing as fast as theirs.
constexpr TermRates kVectorPairs = {80e9, 65e9, 8e9, 8e9, 6e9, 10e9};

TermRates term_rates(Isa isa, int terms) {
  return isa == Isa::avx512_bf16 ? kVectorPairs : amx_rates(terms);
}
// Elements a second that the gradient of the weight packs and splits.
constexpr double kAmxSplits = 1.4e9;
// Elements a second of one core between tensors and tiles, where each is moved once.
constexpr double kTiledPixels = 3e9;
// A pixel and tap, whose channels are a run of their own.
constexpr double kAmxRun = 2e-9;

// Two threads take 1.9 times as much off an even load.
double speed_up(int threads) { return 1 + 0.95 * (threads - 1); }

// Threads of one core share its tiles: on two CPUs of a virtual machine six products were 1.3 times
// as fast as on one, the vector units 1.5 times.
double terms_speed_up(Isa isa, int threads) {
  return isa == Isa::avx512_bf16 ? speed_up(threads) : 1 + 0.65 * (threads - 1);
}

double as_double(int64_t x) { return static_cast<double>(x); }

// The product of one group, times the groups. Filters that are the columns of C fill whole vectors.
// share: of the products, those that are formed, as InsideTaps has it.
// for_pixels: the elements of x, packed or copied. classes: of pixels, each with taps of its own.
// packed_weights: the bytes of the weight that are packed in a second.
double im2col_gemm_seconds(double pixels, double depth, double share, double for_pixels,
                           int64_t filters, int64_t groups, bool filters_are_columns,
                           double classes, double packed_weights, Isa isa, int threads) {
  // AMD's AVX2 counts as if as wide as AVX-512, which is no slower where vectors are not full.
  const bool narrow = isa == Isa::avx2 && !made_by_amd();
  const int64_t lanes = isa == Isa::scalar ? 4 : narrow ? 8 : 16;
  const double width = as_double(filters_are_columns ? round_up(filters, lanes) : filters);
  // A tile of fewer rows than this waits for its loads.
  constexpr double kLeastRows = 6;
  const double products = share * pixels * depth * std::max(width, kLeastRows) / gemm_rate(isa);
  // The weight is packed for every block of pixels, but once where products with padding are left
  // out.
  const double times = std::max(share < 1 ? 1.0 : pixels / 256, classes);
  const double for_weights = depth * width * times * sizeof(float) / packed_weights;
  // Few pixels wait for panels of the weight from memory.
  const double streamed = depth * width * sizeof(float) / weight_rates().streamed;
  return as_double(groups) *
         (std::max(products, streamed) + for_pixels * sizeof(float) / kPackedPixels + for_weights) /
         speed_up(threads);
}

double whole(double extent, int64_t unit) {
  return std::ceil(extent / as_double(unit)) * as_double(unit);
}

// What the transforms of a group take longer, as a share: the few channels of a pixel lie apart
// from the next pixel's, and blocks of them are short. Fitted to eight layers of 16 to 192 channels
// a group on 7 to 56 pixels, both layouts; to 17 layers of 4 to 192 on a Zen 4.
double slower_transforms_of_groups(const WinogradConv& conv) {
  if (conv.groups == 1) return 0;
  const double slower = made_by_amd() ? 0.3 : 1;
  const double channels = as_double(std::min(conv.channels, conv.filters)) / slower;
  if (conv.x.c != 1) return 20 / channels;
  constexpr double kLarge = 1 << 20;
  const double image =
      as_double(conv.groups * conv.channels) * as_double(conv.height * conv.width) * sizeof(float);
  return 40 / channels + (image > kLarge ? 1 : 0);
}

// In whole vectors of AVX-512, for AVX2 too: transforms of half as wide vectors take as long.
struct WinogradSizes {
  static constexpr int64_t kLanes = 16;
  double points, tiles, channels, filters;

  WinogradSizes(const WinogradConv& conv, int64_t outputs)
      : points(as_double(winograd_points(conv, outputs) * winograd_points(conv, outputs))),
        tiles(as_double(conv.images) *
              as_double(TileAxis{outputs, conv.dilation.h, conv.out_height}.tiles()) *
              as_double(TileAxis{outputs, conv.dilation.w, conv.out_width}.tiles())),
        channels(as_double(round_up(conv.channels, kLanes))),
        filters(as_double(round_up(conv.filters, kLanes))) {}
};

// What im2col_gemm_seconds leaves out where groups have few channels: in channels_last each tap of
// a pixel is a run of its own, in NCHW each element where pixels are not neighbours.
double short_runs_seconds(const Gather& g, int threads) {
  if (g.groups == 1) return 0;
  const double taps = as_double(g.groups) * as_double(g.x.pixels() * g.x.taps());
  const double apart = taps * as_double(g.x.channels) / kStridedPixels;
  const bool along_channels = reads_best_along_channels(g.x);
  return (along_channels ? taps * kShortRun : g.x.step.w > 1 ? apart : 0) / speed_up(threads);
}

double terms_gather_seconds(const Gather& g, bool weight_is_packed, Isa isa, int terms,
                            int threads) {
  const TermRates rates = term_rates(isa, terms);
  const int64_t pixels = g.x.pixels();
  // Vectors form products of any number of rows, and of pairs.
  const bool whole_tiles = isa != Isa::avx512_bf16;
  const auto rows = [&](int64_t count, bool are_rows) {
    return as_double(are_rows && !whole_tiles ? count : round_up(count, kAmxTileRows));
  };
  const double steps = as_double(round_up(g.x.depth(), whole_tiles ? kAmxStep : 2));
  const double height = rows(g.filters, g.pixels_are_columns);
  const double width = rows(pixels, !g.pixels_are_columns);
  // What the terms have more than floats, of which the vector units' rates know nothing.
  const double more_bytes = terms == 3 ? 2 : 0;
  // Each block of filters packs the pixels for itself.
  const double packings = as_double(ceil_div(g.filters, kBlockColumns));
  const double runs = as_double(pixels * g.x.taps()) * packings;
  constexpr int64_t kLongestAmxSum = GemmShape<Isa::amx, float>::kDepth;
  const double sums = height * width * as_double(ceil_div(g.x.depth(), kLongestAmxSum));
  // Rows of a plane end within a vector.
  const double planes = g.pixels_are_columns ? 1.7 : 1;
  return as_double(g.groups) *
             (height * width * steps / rates.products + sums / rates.moved_sums +
              planes * packings * width * steps / rates.packed_pixels +
              (weight_is_packed ? 0 : height * steps / rates.packed_weights) +
              more_bytes * height * steps / weight_rates().streamed + runs * kAmxRun) /
             terms_speed_up(isa, threads) +
         (whole_tiles ? 0 : short_runs_seconds(g, threads));
}

// The image that the gathers of a call read, of x or grad_output.
double terms_fetch_seconds(double elements, Isa isa, int terms, int threads) {
  return elements / term_rates(isa, terms).fetched / terms_speed_up(isa, threads);
}

double share_of_products(const Gather& gather, Isa isa) {
  return InsideTaps(gather, blocking_for(isa).tile_rows).share();
}

// Bytes of the weight a second.
constexpr double kNothingToDo = std::numeric_limits<double>::infinity();
double dgrad_packed_weights(const Gather& g, double classes, Isa isa) {
  if (!g.weight_filters_inner) return classes > 1 ? kPickedWeights : kTurnedWeights;
  return reads_taps_in_turn(g, blocking_for(isa).tile_rows) ? kNothingToDo : kPackedWeights;
}

// Of one group: packed for every block of filters, or copied with their borders.
double elements_of_pixels(const Gather& g, double share, const Conv2dProblem& p, Isa isa) {
  const bool in_floats = p.dtype == DType::f32 || p.dtype == DType::f64;
  const ZeroBorders borders(g, blocking_for(isa).tile_rows, size_of(p.dtype));
  if (in_floats && share == 1 && borders.pay()) return borders.copied();
  const double blocks = std::max(as_double(g.filters) / kBlockColumns, 1.0);
  return share * as_double(g.x.pixels()) * as_double(g.x.depth()) * blocks;
}

double reading_rows(const Conv2dProblem& p) {
  const double weights = as_double(p.K) * as_double(p.group_in_channels() * p.R * p.S);
  return weights * as_double(size_of(p.dtype)) / rows_of_weight();
}

}  // namespace

WinogradRates winograd_float_rates(Isa isa) {
  // A tile of the GEMM has up to 14 rows; below 8 the panel's loads outweigh the products.
  return {std::min(gemm_rate(isa), isa == Isa::avx2 ? 30e9 : 32e9),
          weight_rates().few_transformed,
          sizeof(float),
          8,
          1,
          1};
}

WinogradRates winograd_term_rates(int terms) {
  // Six products take 1.8 times as long as the vector units, three 0.84 times.
  return {terms == 3 ? 18e9 : 38e9, 1.5e9, 2.0 * terms, 1, 16, 32};
}

double winograd_seconds(const WinogradConv& conv, int64_t outputs, const WinogradRates& rates,
                        bool weight_is_packed, int threads) {
  const WinogradSizes s(conv, outputs);
  const double rows = std::max(whole(s.tiles, rates.tile_unit),
                               std::min(2 * s.tiles, as_double(rates.least_tiles)));
  const double channels = whole(s.channels, rates.channel_unit);
  const double products = s.points * rows * channels * s.filters / rates.products;
  const double arrays = s.points * s.tiles *
                        (channels * (rates.bytes + sizeof(float)) + s.filters * 2 * sizeof(float)) *
                        (1 + slower_transforms_of_groups(conv)) / kTransforms;
  const double weight = s.points * channels * s.filters * rates.bytes;
  const double transform =
      weight_is_packed
          ? 0
          : weight / std::min(rates.transformed_weights, weight_rates().transforming(weight));
  constexpr double kStage = 5e-6;  // waking the threads
  return as_double(conv.groups) *
             (products + arrays + weight / weight_rates().streamed + transform) /
             speed_up(threads) +
         (threads > 1 ? 3 * kStage : 0);
}

double winograd_wgrad_seconds(const WinogradConv& conv, int64_t outputs, Isa isa, int threads) {
  const WinogradSizes s(conv, outputs);
  const WgradRates rates = wgrad_rates();
  constexpr double kFloat = sizeof(float);
  const WinogradWgradBlocks blocks = winograd_wgrad_blocks(conv, WinogradSizes::kLanes, threads);
  // Adding a running sum to U takes as long as the products of five tiles.
  const double sums = std::ceil(s.tiles / as_double(winograd_wgrad_chunk(conv, outputs)));
  const double products = s.points * (s.tiles + 5 * sums) * s.channels * s.filters /
                          (rates.share_in_many_sums * gemm_rate(isa));
  const double arrays =
      s.points * s.tiles * kFloat * 2 *
      (s.channels * as_double(blocks.filters.parts) + s.filters * as_double(blocks.channels.parts));
  const bool six_points = winograd_points(conv, outputs) == 6;
  const double transforms = arrays / (six_points ? rates.six_points : rates.four_points);
  const double weight = s.points * s.channels * s.filters * 2 * kFloat / rates.sums;
  const int workers = static_cast<int>(std::min<int64_t>(threads, blocks.count()));
  return (products + transforms + weight) / speed_up(workers);
}

double direct_wgrad_seconds(const Conv2dProblem& p, Isa isa, int threads) {
  constexpr int64_t lanes = 16;
  const double products = as_double(p.groups) * direct_wgrad_vectors(p, lanes) * as_double(lanes);
  const double pixels = as_double(p.N) * as_double(p.P) * as_double(p.Q);
  const double copies = pixels * as_double(p.C + p.K) * sizeof(float);
  if (p.groups == 1) {
    return (products / gemm_rate(isa) + copies / kPackedPixels) / speed_up(threads);
  }
  // Small tiles, and in channels_last a line of memory for the few channels of a group.
  const bool is_strided = p.input.c == 1 && p.group_in_channels() < lanes;
  const double lines = is_strided ? as_double(lanes) / as_double(p.group_in_channels()) : 1;
  return (products / (0.5 * gemm_rate(isa)) + copies * lines / kTurnedChannels) / speed_up(threads);
}

double depthwise_fprop_seconds(const Conv2dProblem& p, Isa isa, int threads) {
  if (p.groups > 1 || isa == Isa::scalar) return kNoEstimate;
  const bool in_pixels = p.output.c == 1 && p.K > 1;
  const double an_output = in_pixels ? kOutputInPixels + as_double(p.R * p.S) * kProductInPixels
                                     : kOutputInPlanes + as_double(p.R * p.S) * kProductInPlanes;
  const double outputs = as_double(p.N * p.K) * as_double(p.P * p.Q);
  const double narrower = isa == Isa::avx2 && !made_by_amd() ? 2 : 1;
  return std::max(narrower * outputs * an_output / speed_up(threads) - kSparedByDepthwise, 0.0);
}

double depthwise_wgrad_seconds(const Conv2dProblem& p, int threads) {
  constexpr int64_t kFewFilters = 16;
  if (p.groups > 1 || p.output.c != 1 || p.K < kFewFilters) return kNoEstimate;
  const double pixels = as_double(p.N) * as_double(p.P) * as_double(p.Q);
  return pixels * as_double(p.K * p.R * p.S) / kOneChannelInPixels / speed_up(threads);
}

double grouped_seconds(const GroupedGather& gather, int64_t lanes, bool weight_is_packed,
                       int threads) {
  const GroupedPlan plan = grouped_plan(gather, lanes, threads);
  const double vectors = as_double(plan.bundles * plan.vectors_a_bundle) * as_double(plan.depth);
  const double pixels = as_double(gather.x.pixels()) / as_double(gather.up);
  const double products = vectors * pixels / kPermutedProducts;
  const double packing = weight_is_packed ? 0 : vectors * as_double(lanes) / kTurnedLanes;
  const double copied = as_double(plan.tasks(gather)) * as_double(plan.slab_elements());
  const double copies = copied * sizeof(float) / kTurnedChannels;
  return (products + packing + copies) / speed_up(threads);
}

double grouped_tiles_seconds(const Gather& g, Isa isa, int terms, bool weight_is_packed,
                             int threads) {
  constexpr double kTileProducts = kAmxTileRows * 2 * kAmxTileRows * kAmxStep;
  const GroupedTilesPlan plan = grouped_tiles_plan(g, terms, threads);
  const double blocks = as_double(g.x.images * plan.bundles * plan.rows.parts);
  const double panels = as_double(plan.bundles * plan.panels * g.x.taps());
  const double tiles = as_double(plan.tiles * plan.panels);
  // Tiles form those with zero weights too.
  const double share =
      isa == Isa::avx512_bf16 ? as_double(channels_of_filters(g, plan, 0).size) / kAmxStep : 1;
  const double products = share * blocks * tiles * as_double(g.x.taps()) * kTileProducts;
  const double copied = blocks * as_double(plan.slab_pixels()) * kAmxStep;
  const double stored = blocks * tiles * kAmxTileRows * 2 * kAmxTileRows;
  const double packed = weight_is_packed ? 0 : panels * 2 * kAmxTileRows * as_double(g.x.channels);
  return (products / term_rates(isa, terms).elsewhere + (copied + stored) / kTiledPixels +
          packed / kGatheredWeights) /
         speed_up(threads);
}

double grouped_wgrad_seconds(const Conv2dProblem& p, int64_t lanes, int threads) {
  const GroupedWgradPlan plan = grouped_wgrad_plan(p, lanes);
  const double pixels = as_double(p.N) * as_double(p.P) * as_double(p.Q);
  const double products = pixels * as_double(plan.bundles) * as_double(plan.sums / lanes);
  const double copies =
      (as_double(p.N) * as_double(p.H * p.W) * as_double(p.C) + pixels * as_double(p.K)) *
      sizeof(float);
  return (products / kPermutedSums + copies / kTurnedChannels) / speed_up(threads);
}

double dot_products_seconds(const Conv2dProblem& p, int threads) {
  const double outputs = as_double(p.N * p.K) * as_double(p.P * p.Q);
  return (reading_rows(p) + outputs * kSumOfLanes) / speed_up(threads);
}

double row_products_seconds(const Conv2dProblem& p, int threads) {
  const double inputs = as_double(p.N * p.C) * as_double(p.H * p.W);
  return (reading_rows(p) + inputs * kStoredElement) / speed_up(threads);
}

double im2col_fprop_seconds(const Conv2dProblem& p, Isa isa, int threads) {
  const bool filters_are_columns = p.output.c == 1;
  const Gather gather = fprop_gather(p);
  const double share = share_of_products(gather, isa);
  const bool has_panels = p.weight_is_packed && (filters_are_columns || share < 1);
  return im2col_gemm_seconds(
             as_double(p.N) * as_double(p.P * p.Q), as_double(p.group_in_channels() * p.R * p.S),
             share, elements_of_pixels(gather, share, p, isa), p.group_out_channels(), p.groups,
             filters_are_columns, 1, has_panels ? kNothingToDo : kPackedWeights, isa, threads) +
         short_runs_seconds(gather, threads);
}

double im2col_dgrad_seconds(const Conv2dProblem& p, Isa isa, int threads) {
  // Of the taps, each pixel takes part in those that its residue modulo the stride allows.
  const double taps = as_double(p.R * p.S) / as_double(p.stride.h) / as_double(p.stride.w);
  const Gather first = dgrad_gather(p, 0, 0);
  const double share = share_of_products(first, isa);
  const double for_pixels = sum_over_dgrad_classes(
      p, [&](const Gather& g) { return elements_of_pixels(g, share, p, isa); });
  const double classes = as_double(p.stride.h) * as_double(p.stride.w);
  const double written = as_double(p.N * p.C) * as_double(p.H * p.W) * sizeof(float);
  const double read = as_double(p.N * p.K) * as_double(p.P * p.Q) * sizeof(float);
  const double gaps =
      classes > 1 && written + read > kNearCaches ? written / kGappedLines / speed_up(threads) : 0;
  return im2col_gemm_seconds(as_double(p.N) * as_double(p.H * p.W),
                             as_double(p.group_out_channels()) * taps, share, for_pixels,
                             p.group_in_channels(), p.groups, p.input.c == 1, classes,
                             dgrad_packed_weights(first, classes, isa), isa, threads) +
         sum_over_dgrad_classes(p,
                                [&](const Gather& g) { return short_runs_seconds(g, threads); }) +
         gaps;
}

double col2im_seconds(const Conv2dProblem& p, Isa isa, int threads) {
  const Blocking& blocking = blocking_for(isa);
  const int64_t lanes = blocking.vector_bytes / int64_t{sizeof(float)};
  const Col2imPlan plan(p, {blocking.tile_rows, lanes * blocking.tile_vectors, lanes}, threads);
  const double pixels = as_double(p.N) * as_double(p.P * p.Q);
  const double filters = as_double(p.group_out_channels());
  const double blocks = as_double(p.groups * plan.channels.parts);
  const double columns = blocks * as_double(round_up(plan.most_columns(), lanes));
  constexpr double kLeastRows = 6;
  const double rows = std::max(pixels, kLeastRows);
  const double products =
      rows * (filters + kStepsOfTile) * columns / (kShareOfGemm * gemm_rate(isa));
  const double streamed = filters * columns * sizeof(float) / weight_rates().streamed;
  const bool in_floats = p.dtype == DType::f32 || p.dtype == DType::f64;
  const double packings = plan.packs_filters || in_floats
                              ? as_double(plan.packs_filters)
                              : std::ceil(pixels / as_double(plan.pixels_a_block));
  const double packed =
      (packings * filters * columns + (p.output.c == 1 ? 0 : blocks * pixels * filters)) *
      sizeof(float);
  const double of_taps = as_double(p.N * p.P) * as_double(p.C) * as_double(plan.taps);
  double added = of_taps * as_double(round_up(p.Q, lanes)) * kTurnedSum;
  if (plan.order == FilterOrder::channels_inner) {
    const double run = as_double(plan.channels.largest() * (p.dilation.w == 1 ? p.S : 1));
    added = of_taps * as_double(p.Q) * (kSum + kRunOfSums / run);
  }
  const double stored =
      as_double(p.N) * as_double(p.C) * as_double(p.H * p.W) * sizeof(float) / kPackedPixels;
  return (std::max(products, streamed) + packed / kPackedWeights + added + stored) /
         speed_up(static_cast<int>(std::min<int64_t>(threads, plan.tasks())));
}

double terms_fprop_seconds(const Conv2dProblem& p, Isa isa, int terms, int threads) {
  const double elements = as_double(p.N) * as_double(p.C) * as_double(p.H) * as_double(p.W);
  return terms_gather_seconds(fprop_gather(p), p.weight_is_packed, isa, terms, threads) +
         terms_fetch_seconds(elements, isa, terms, threads);
}

double terms_dgrad_seconds(const Conv2dProblem& p, Isa isa, int terms, int threads) {
  const double elements = as_double(p.N) * as_double(p.K) * as_double(p.P) * as_double(p.Q);
  return sum_over_dgrad_classes(
             p,
             [&](const Gather& g) { return terms_gather_seconds(g, false, isa, terms, threads); }) +
         terms_fetch_seconds(elements, isa, terms, threads);
}

double terms_wgrad_seconds(const Conv2dProblem& p, Isa isa, int terms, int threads) {
  const int64_t filters = p.group_out_channels(), taps = p.group_in_channels() * p.R * p.S;
  const double steps = as_double(round_up(p.N * p.P * p.Q, kAmxStep));
  const double height = as_double(round_up(filters, kAmxTileRows));
  const double width = as_double(round_up(taps, kAmxTileRows));
  const double packed = steps * (height * as_double(ceil_div(taps, kBlockColumns)) +
                                 width * as_double(ceil_div(filters, kBlockColumns)));
  return as_double(p.groups) *
         (height * width * steps / term_rates(isa, terms).elsewhere + packed / kAmxSplits) /
         speed_up(threads);
}

}  // namespace fastconv::cpu
