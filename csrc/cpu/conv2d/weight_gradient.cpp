#include "cpu/conv2d/weight_gradient.h"

#include <algorithm>

#include "cpu/conv2d/gather.h"

namespace fastconv::cpu {
namespace {

// Small weights leave too few blocks of C to share among threads, so the pixels are shared too; the
// sums of the parts are kept beside each other, up to 2^20 elements of them.
int64_t reduction_parts(int64_t weight_elements, int64_t pixels, int64_t gemm_depth) {
  constexpr int64_t kMostParts = 16;
  constexpr int64_t kLeastBlocks = 8;
  constexpr int64_t kMostElements = int64_t{1} << 20;
  const int64_t by_length = pixels / (kLeastBlocks * gemm_depth);
  const int64_t by_memory = weight_elements > 0 ? kMostElements / weight_elements : 1;
  return std::max<int64_t>(1, std::min({kMostParts, by_length, by_memory}));
}

// How many rows of pixels the packing has to transpose. A wants to be read along pixels, B along
// its columns.
int64_t transposed_rows(const WeightGradient& g, bool taps_are_rows) {
  const bool input_transposed = g.input_channels_inner == taps_are_rows;
  const bool grad_transposed = g.grad_channels_inner != taps_are_rows;
  return (input_transposed ? g.input.depth() : 0) + (grad_transposed ? g.filters() : 0);
}

}  // namespace

WeightGradient weight_gradient(const Conv2dProblem& p, int64_t gemm_depth) {
  WeightGradient g{};
  const Gather forward = fprop_gather(p);
  g.input = forward.x;
  g.weight = forward.weight;
  g.groups = p.groups;
  constexpr Taps kOneTap{1, 0, 0, 0, 0};
  g.grad = {p.N, p.group_out_channels(), p.P, p.Q, p.P, p.Q, {1, 1}, kOneTap, kOneTap, p.output,
            true};
  g.input_group = forward.x_group;
  g.grad_group = p.group_out_channels() * p.output.c;
  g.weight_group = forward.w_group;
  g.input_channels_inner = reads_best_along_channels(g.input);
  g.grad_channels_inner = reads_best_along_channels(g.grad);
  g.taps_are_rows = transposed_rows(g, true) == transposed_rows(g, false)
                        ? !g.input_channels_inner
                        : transposed_rows(g, true) < transposed_rows(g, false);
  g.parts = reduction_parts(p.K * g.input.depth(), g.pixels(), gemm_depth);
  return g;
}

}  // namespace fastconv::cpu
