#include "cuda/conv2d/depthwise_gather.cuh"
#include "cuda/conv2d/depthwise_wgrad.cuh"
#include "cuda/conv2d/entries.h"
#include "cuda/conv2d/wgrad_splits.h"

namespace fastconv::cuda {
namespace {

int64_t accumulator_bytes(const Conv2dProblem& p) {
  return p.dtype == DType::f64 ? sizeof(double) : sizeof(float);
}

// Channels, rows and columns of a tile: in channels_last a warp's lanes are channels.
struct Extents {
  int64_t channels, rows, columns;
};

// The extent of the source of `count` target elements.
int64_t source_extent(int64_t count, int64_t taps, int64_t stride, int64_t dilation,
                      bool transposed) {
  const int64_t reach = (taps - 1) * dilation;
  return transposed ? (count - 1 + reach) / stride + 1 : (count - 1) * stride + reach + 1;
}

Box source_box(const Conv2dProblem& p, const Extents& target, bool transposed, bool nhwc) {
  return {target.channels, source_extent(target.rows, p.R, p.stride.h, p.dilation.h, transposed),
          source_extent(target.columns, p.S, p.stride.w, p.dilation.w, transposed), nhwc};
}

// Halves a tile until it fits; false where the smallest does not.
template <class Bytes>
bool shrink(Extents& tile, bool keep_channels, const Bytes& bytes) {
  while (bytes(tile) > kDepthwiseShared) {
    if (tile.rows * tile.columns > 1) {
      (tile.rows >= tile.columns ? tile.rows : tile.columns) /= 2;
    } else if (!keep_channels && tile.channels > 1) {
      tile.channels /= 2;
    } else {
      return false;
    }
  }
  return true;
}

// ---- fprop and dgrad ------------------------------------------------------------------------

int64_t gather_bytes(const Conv2dProblem& p, const Extents& t, bool transposed) {
  const int64_t rows = source_extent(t.rows, p.R, p.stride.h, p.dilation.h, transposed);
  const int64_t columns = source_extent(t.columns, p.S, p.stride.w, p.dilation.w, transposed);
  const int64_t multiplier = p.group_out_channels();
  const int64_t source = t.channels * (transposed ? multiplier : 1) * rows * columns;
  return (source + t.channels * multiplier * p.R * p.S) * accumulator_bytes(p);
}

template <bool transposed>
bool gather_tile(const Conv2dProblem& p, Extents& tile) {
  const bool nhwc = p.input.c == 1 && p.output.c == 1;
  const int64_t rows = transposed ? p.H : p.P, columns = transposed ? p.W : p.Q;
  const int64_t most = nhwc ? 8 : 32;
  tile.rows = std::max<int64_t>(1, std::min(rows, most));
  tile.columns = std::max<int64_t>(1, std::min(columns, most));
  const int64_t planes = nhwc ? 32 : std::max<int64_t>(1, 1024 / (tile.rows * tile.columns));
  tile.channels = std::min(p.C, planes);
  return shrink(tile, false, [&](const Extents& t) { return gather_bytes(p, t, transposed); });
}

const char* reject_shape(const Conv2dProblem& p) {
  if (!is_depthwise(p)) return "needs one input channel in a group, and several groups";
  if (!fits_int32(p)) return "needs sizes below 2^30";
  // Longer sums would want chunks.
  if (p.R * p.S * p.group_out_channels() > 256) return "needs at most 256 products in a sum";
  return nullptr;
}

template <bool transposed>
const char* reject_gather(const Conv2dProblem& p, const Conv2dTensors&) {
  if (const char* reason = reject_shape(p)) return reason;
  Extents tile;
  return gather_tile<transposed>(p, tile) ? nullptr
                                          : "needs a window that fits shared memory (48 KiB)";
}

int64_t no_workspace(const Conv2dProblem&, const Device&) { return 0; }

template <bool transposed>
void run_gather(const Conv2dProblem& p, const Conv2dTensors& t, std::byte*, const Queue& queue) {
  Extents tile;
  gather_tile<transposed>(p, tile);
  const bool nhwc = p.input.c == 1 && p.output.c == 1;
  const Box target(tile.channels, tile.rows, tile.columns, nhwc);
  const Tiles tiles(target, p.C, transposed ? p.H : p.P, transposed ? p.W : p.Q);
  const DepthwiseGather<transposed> g{ConvShape<int32_t>(p), source_box(p, tile, transposed, nhwc),
                                      target, tiles};
  const int64_t blocks = p.N * tiles.channel_tiles * tiles.planes();
  if (blocks == 0) return;
  dispatch_dtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    launch(transposed ? "conv2d_dgrad_depthwise" : "conv2d_fprop_depthwise",
           depthwise_gather<T, transposed>, blocks_for(blocks), kDepthwiseThreads,
           static_cast<size_t>(gather_bytes(p, tile, transposed)), queue.stream, g,
           static_cast<const T*>(transposed ? t.output : t.input), static_cast<const T*>(t.weight),
           static_cast<const T*>(transposed ? nullptr : t.bias),
           static_cast<T*>(transposed ? t.input : t.output));
  });
}

// ---- wgrad ----------------------------------------------------------------------------------

int64_t wgrad_bytes(const Conv2dProblem& p, const Extents& t) {
  const int64_t rows = source_extent(t.rows, p.R, p.stride.h, p.dilation.h, false);
  const int64_t columns = source_extent(t.columns, p.S, p.stride.w, p.dilation.w, false);
  const int64_t multiplier = p.group_out_channels();
  return (multiplier * p.R * p.S * kDepthwiseThreads + t.channels * rows * columns +
          t.channels * multiplier * t.rows * t.columns) *
         accumulator_bytes(p);
}

bool wgrad_tile(const Conv2dProblem& p, Extents& tile) {
  const bool nhwc = p.input.c == 1 && p.output.c == 1;
  const int64_t most = nhwc ? 8 : 32;
  tile = {nhwc ? std::min<int64_t>(p.C, 32) : 1, std::max<int64_t>(1, std::min(p.P, most)),
          std::max<int64_t>(1, std::min(p.Q, most))};
  return shrink(tile, true, [&](const Extents& t) { return wgrad_bytes(p, t); });
}

struct WgradPlan {
  Box output;
  Tiles tiles;
  int64_t splits, split_tiles;
};

// Enough splits for four waves of blocks.
WgradPlan wgrad_plan(const Conv2dProblem& p, const Device& device) {
  Extents tile;
  wgrad_tile(p, tile);
  const Box output(tile.channels, tile.rows, tile.columns, p.input.c == 1 && p.output.c == 1);
  const Tiles tiles(output, p.C, p.P, p.Q);
  const int64_t all = p.N * tiles.planes();
  const int64_t wanted = ceil_divide(int64_t{4} * device.multiprocessors, tiles.channel_tiles);
  const int64_t split_tiles =
      std::max<int64_t>(1, ceil_divide(all, std::max<int64_t>(1, std::min(wanted, all))));
  return {output, tiles, std::max<int64_t>(1, ceil_divide(all, split_tiles)), split_tiles};
}

const char* reject_wgrad(const Conv2dProblem& p, const Conv2dTensors&) {
  if (const char* reason = reject_shape(p)) return reason;
  Extents tile;
  return wgrad_tile(p, tile) ? nullptr : "needs a window that fits shared memory (48 KiB)";
}

SumsLayout sums_layout(const Conv2dProblem& p) { return {p.group_out_channels(), 1, false}; }

int64_t wgrad_workspace(const Conv2dProblem& p, const Device& device) {
  return sums_bytes(p, {wgrad_plan(p, device).splits, 0}, sums_layout(p));
}

void run_wgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
               const Queue& queue) {
  const WgradPlan plan = wgrad_plan(p, queue.device);
  const Extents tile{plan.output.channels, plan.output.rows, plan.output.columns};
  const DepthwiseWgrad g{ConvShape<int32_t>(p),
                         source_box(p, tile, false, plan.output.channels_fastest),
                         plan.output,
                         plan.tiles,
                         static_cast<int32_t>(plan.splits),
                         static_cast<int32_t>(plan.split_tiles)};
  dispatch_dtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using Accumulator = typename Element<T>::Accumulator;
    launch("conv2d_wgrad_depthwise", depthwise_wgrad<T>,
           blocks_for(plan.splits * plan.tiles.channel_tiles), kDepthwiseThreads,
           static_cast<size_t>(wgrad_bytes(p, tile)), queue.stream, g,
           static_cast<const T*>(t.input), static_cast<const T*>(t.output),
           reinterpret_cast<Accumulator*>(workspace));
  });
  add_splits(p, {plan.splits, 0}, sums_layout(p), workspace, t.weight, queue);
}

}  // namespace

const Conv2dAlgorithm conv2d_fprop_depthwise = {
    {"conv2d_fprop_cuda_depthwise", "conv2d", "fprop", 80, kAllDTypes, kSimtError,
     "one input channel in a group: tiles with what lies around them in shared memory; no "
     "workspace"},
    reject_gather<false>,
    no_workspace,
    run_gather<false>};

const Conv2dAlgorithm conv2d_dgrad_depthwise = {
    {"conv2d_dgrad_cuda_depthwise", "conv2d", "dgrad", 80, kAllDTypes, kSimtError,
     "one input channel in a group: tiles with what lies around them in shared memory; no "
     "workspace"},
    reject_gather<true>,
    no_workspace,
    run_gather<true>};

const Conv2dAlgorithm conv2d_wgrad_depthwise = {
    {"conv2d_wgrad_cuda_depthwise", "conv2d", "wgrad", 80, kAllDTypes, kSimtError,
     "one input channel in a group: each tile is read once for all taps; workspace: one float32 "
     "(float64) weight gradient for each split"},
    reject_wgrad,
    wgrad_workspace,
    run_wgrad};

}  // namespace fastconv::cuda
