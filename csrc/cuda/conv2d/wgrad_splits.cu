#include "cuda/conv2d/launch_gemm.h"
#include "cuda/conv2d/wgrad_splits.cuh"
#include "cuda/conv2d/wgrad_splits.h"

namespace fastconv::cuda {
namespace {

int64_t accumulator_bytes(const Conv2dProblem& p) {
  return p.dtype == DType::f64 ? sizeof(double) : sizeof(float);
}

int64_t split_elements(const Conv2dProblem& p, const SumsLayout& layout) {
  return p.groups * layout.filters * layout.channels * p.R * p.S;
}

}  // namespace

// Enough splits for two waves of blocks, none shorter than 1024 pixels (its sums cost a write and a
// read), and no more than 256 MiB of them.
Splits split_pixels(const Conv2dProblem& p, const Device& device, int64_t tile, int64_t longest) {
  constexpr int64_t kShortest = 1024, kMostBytes = int64_t{256} << 20;
  const int64_t depth = p.N * p.P * p.Q;
  const int64_t columns = p.group_in_channels() * p.R * p.S;
  const int64_t tiles =
      p.groups * ceil_divide(p.group_out_channels(), tile) * ceil_divide(columns, tile);
  const int64_t bytes = std::max<int64_t>(1, p.K * columns * accumulator_bytes(p));
  const int64_t waves =
      ceil_divide(int64_t{2} * device.multiprocessors, std::max<int64_t>(1, tiles));
  const int64_t wanted =
      std::max(std::min(waves, ceil_divide(depth, kShortest)), ceil_divide(depth, longest));
  const int64_t chunks = ceil_divide(depth, kChunk);
  const int64_t count = std::max<int64_t>(1, std::min(wanted, kMostBytes / bytes));
  const int64_t split_depth = std::max<int64_t>(1, ceil_divide(chunks, count)) * kChunk;
  return {std::max<int64_t>(1, ceil_divide(depth, split_depth)), split_depth};
}

int64_t sums_bytes(const Conv2dProblem& p, const Splits& splits, const SumsLayout& layout) {
  return splits.count * split_elements(p, layout) * accumulator_bytes(p);
}

void add_splits(const Conv2dProblem& p, const Splits& splits, const SumsLayout& layout,
                const std::byte* sums, void* weight, const Queue& queue) {
  const int64_t elements = p.K * p.group_in_channels() * p.R * p.S;
  if (elements == 0) return;
  dispatch_types(p, [&](auto type, auto index) {
    using T = typename decltype(type)::type;
    using Index = typename decltype(index)::type;
    using Accumulator = typename Element<T>::Accumulator;
    const DeviceSums<Index> device{
        static_cast<Index>(layout.filters), static_cast<Index>(layout.channels),
        static_cast<Index>(split_elements(p, layout)), layout.channels_fastest};
    launch("conv2d_wgrad_add_splits", add_weight_splits<T, Index>,
           blocks_for(ceil_divide(elements, kReduceThreads)), kReduceThreads, 0, queue.stream,
           ConvShape<Index>(p), device, reinterpret_cast<const Accumulator*>(sums),
           static_cast<Index>(splits.count), static_cast<T*>(weight));
  });
}

}  // namespace fastconv::cuda
