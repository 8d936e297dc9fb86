// The gradient of the weight by Winograd's minimal filtering: for each point of the tile, the
// products of the transformed grad_output with the transformed input summed over all tiles, and one
// transform of the sums at the end. To be included under an instruction set's pragma.
//
//   weight = G^T [ sum over tiles of (A grad A^T) * (B^T x B) ] G
//
// where output = A^T [ (G weight G^T) * (B^T x B) ] A is the convolution: it is linear in the
// weight, and this is its transpose.
#pragma once

#include <atomic>

#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/direct_wgrad_kernel.h"
#include "cpu/conv2d/winograd_plan.h"
#include "cpu/conv2d/winograd_tiles.h"
#include "cpu/conv2d/winograd_wgrad_tiles.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

template <class Target, template <class> class Method>
class WinogradWgrad {
 public:
  using Shape = GemmShape<Target::kIsa, float>;
  using Vector = typename Target::template Vector<float>;
  using Tiles = WinogradTiles<Target, Method>;
  using WgradTiles = WinogradWgradTiles<Target, Method>;
  using Pixels = typename Tiles::Pixels;
  static constexpr int kOutputs = Method<Target>::kOutputs;

  WinogradWgrad(const Conv2dProblem& problem, int threads)
      : conv_(winograd_fprop(problem)),
        chunk_(winograd_wgrad_chunk(conv_, kOutputs)),
        blocks_(winograd_wgrad_blocks(conv_, Shape::kLanes, threads)),
        workers_(worker_count(blocks_.count(), threads)) {
    WinogradConv largest = conv_;
    largest.filters = blocks_.filters.largest();
    largest.channels = blocks_.channels.largest();
    Carver count(nullptr);
    carve(count, plan_of(largest));
    worker_bytes_ = count.bytes();
  }

  int64_t workspace() const { return workers_ * worker_bytes_; }

  // False where an element is not finite: the weight is then to be computed in another way.
  bool run(const float* x, const float* grad, float* weight, std::byte* workspace,
           const Parallel& parallel) const {
    std::atomic<bool> finite{true};
    TaskQueue tasks(blocks_.count());
    parallel.for_each(workers_, [&](int64_t worker) {
      for (int64_t task = tasks.take(); task >= 0 && finite; task = tasks.take()) {
        const int64_t f = task % blocks_.filters.parts, c = task / blocks_.filters.parts;
        WinogradConv block = conv_;
        block.filters = blocks_.filters.size(f);
        block.channels = blocks_.channels.size(c);
        const int64_t filter = blocks_.filters.begin(f), channel = blocks_.channels.begin(c);
        Carver carver(workspace + worker * worker_bytes_);
        const bool good =
            run_block(block, x + channel * conv_.x.c, grad + filter * conv_.y.c,
                      weight + filter * conv_.weight.n + channel * conv_.weight.c, carver);
        if (!good) finite = false;
      }
    });
    return finite;
  }

 private:
  // So many running sums go into U before it goes into the weight: sums of sums, so that those of
  // a large batch lose no more digits than those of a small one.
  static constexpr int64_t kChunksPerSum = 64;

  struct Arrays {
    float *v, *m, *u, *scratch, *taps;
    const void** nothing_ahead;
  };

  WinogradPlan plan_of(const WinogradConv& block) const {
    return winograd_wgrad_plan(block, chunk_, kOutputs, Shape::kLanes, Shape::kTileColumns,
                               Shape::kDepth, Shape::kTileRowStride);
  }
  // U [point][panel][filter][channel of a panel]: tiles of it are one piece of memory, and no two
  // points of a filter and channel fall into one set of L1.
  static int64_t u_point(const WinogradPlan& plan) {
    return round_up(plan.channels, Shape::kTileColumns) * plan.filters + WinogradPlan::kLineBetween;
  }
  static Arrays carve(Carver& carver, const WinogradPlan& plan) {
    return {carver.take<float>(plan.v_elements()),
            carver.take<float>(plan.m_elements()),
            carver.take<float>(plan.tile_points() * u_point(plan)),
            carver.take<float>(Pixels::kScratchFloats),
            carver.take<float>(WgradTiles::kTaps * plan.lane_channels),
            carver.take<const void*>(1)};
  }

  bool run_block(const WinogradConv& conv, const float* x, const float* grad, float* weight,
                 Carver& carver) const {
    const WinogradPlan plan = plan_of(conv);
    const Arrays arrays = carve(carver, plan);
    arrays.nothing_ahead[0] = arrays.v;
    const Tiles tiles(conv, plan, arrays.scratch);
    const WgradTiles wgrad_tiles(conv, plan);
    bool finite = true;
    for (int64_t chunk = 0; chunk < plan.blocks.parts; ++chunk) {
      const int64_t size = plan.blocks.size(chunk);
      for_each_tile_run(
          plan, plan.blocks.begin(chunk), size, Pixels::kRunColumns, [&](const TileRun& run) {
            for (int64_t c = 0; c < conv.channels; c += Shape::kLanes) {
              float* const v = arrays.v + plan.v_channel(c);
              tiles.transform_input(x, c, run, [&](int64_t tile, int e, auto value) {
                Vector::store(v + tile * plan.row_stride + plan.v_point[e], value);
              });
            }
            for (int64_t f = 0; f < conv.filters; f += Shape::kLanes) {
              wgrad_tiles.transform_grad_output(grad, f, run, arrays.m, arrays.scratch);
            }
          });
      const int64_t in_sum = chunk % kChunksPerSum;
      for (int64_t e = 0; e < plan.tile_points(); ++e) {
        multiply_point(plan, arrays, e, size, in_sum > 0);
      }
      if (in_sum + 1 < kChunksPerSum && chunk + 1 < plan.blocks.parts) continue;
      for (int64_t f = 0; f < conv.filters; ++f) {
        finite &= wgrad_tiles.transform_sums(arrays.u + f * Shape::kTileColumns, u_point(plan),
                                             arrays.taps, weight + f * conv.weight.n,
                                             chunk >= kChunksPerSum);
      }
    }
    return finite;
  }

  // U[e] += M[e]^T * V[e] over the tiles of a chunk. A panel of V stays in L1 for all filters.
  static void multiply_point(const WinogradPlan& plan, const Arrays& arrays, int64_t e,
                             int64_t tiles, bool accumulate) {
    PixelWalk walk{};
    walk.images = walk.rows = 1;
    walk.columns = tiles;
    walk.a_column = plan.m_stride;
    walk.b_column = plan.row_stride;
    walk.ahead = {arrays.nothing_ahead, 0, 0};
    const Cuts heights(EvenParts::at_most(plan.filters, Shape::kTileRows, 1));
    const float* const m = arrays.m + e * plan.block_tiles * plan.m_stride;
    float* const u = arrays.u + e * u_point(plan);
    for (int64_t c = 0; c < plan.lane_channels; c += Shape::kTileColumns) {
      const float* const v = arrays.v + plan.v_point[e] + plan.v_channel(c);
      const int64_t left = (plan.lane_channels - c) / Shape::kLanes;
      const int64_t vectors = left < Shape::kTileVectors ? left : int64_t{Shape::kTileVectors};
      for (int64_t part = 0; part < heights.parts; ++part) {
        const int64_t filter = heights.begin(part);
        kWgradTiles<Target>.at[0][heights.size(part) - 1][vectors - 1](
            walk, m + filter, v, u + c * plan.filters + filter * Shape::kTileColumns,
            Shape::kTileColumns, accumulate);
      }
    }
  }

  WinogradConv conv_;
  int64_t chunk_;
  WinogradWgradBlocks blocks_;
  int64_t workers_;
  int64_t worker_bytes_;
};

// The entries of the list. Elsewhere::wgrad(problem) computes what comes out infinite or NaN here.
template <class Target, template <class> class Method, class Elsewhere>
struct WinogradWgradAlgorithm {
  using Kernel = WinogradWgrad<Target, Method>;
  static constexpr int kTaps = Method<Target>::kTaps;

  static const char* reject(const Conv2dProblem& p) {
    if (p.N == 0) return "is for tensors that are not empty";
    // F(2x2) too: up to 2.8 times torch's error where few elements of both operands are not zero.
    if (p.precision == Precision::ieee) return "can be less accurate than 'ieee' asks for";
    return p.groups > 1 ? "is for one group" : winograd_reject(p, kTaps);
  }
  static int64_t workspace(const Conv2dProblem& p, int threads) {
    const int64_t own = Kernel(p, threads).workspace();
    const int64_t other = Elsewhere::wgrad(p).workspace(p, threads);
    return larger(own, other);
  }
  static void run(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                  const Parallel& parallel) {
    const bool done =
        Kernel(p, parallel.threads())
            .run(static_cast<const float*>(t.input), static_cast<const float*>(t.output),
                 static_cast<float*>(t.weight), workspace, parallel);
    if (!done) Elsewhere::wgrad(p).run(p, t, workspace, parallel);
  }
  static double cost(const Conv2dProblem& p, int threads) {
    return winograd_wgrad_seconds(winograd_fprop(p), Kernel::kOutputs, Target::kIsa, threads);
  }

  static constexpr Conv2dAlgorithm algorithm(const char* name) {
    return {{name, "conv2d", "wgrad", Target::kIsa, only(DType::f32), kError, kNote},
            reject,
            workspace,
            run,
            cost};
  }

 private:
  static constexpr double kError = Method<Target>::kPoints == 6 ? 2e-6 : 5e-7;
  static constexpr const char* kNote =
      kTaps == 5
          ? "Winograd F(2x2, 5x5) transposed, 9/25 of the products, sums of at most 128 tiles; "
            "workspace up to 4 MB a thread, or the direct kernels'"
      : Kernel::kOutputs == 4
          ? "Winograd F(4x4, 3x3) transposed, a quarter of the products, sums of at most 128 "
            "tiles; workspace up to 4 MB a thread, or the direct kernels'"
          : "Winograd F(2x2, 3x3) transposed, 4/9 of the products, sums of at most 128 tiles; "
            "workspace up to 2 MB a thread, or the direct kernels'";
};

}  // namespace fastconv::cpu
