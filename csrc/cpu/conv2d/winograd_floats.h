// What lies between the stages of Winograd's convolution as floats, and their products by the
// micro-kernel. To be included under an instruction set's pragma.
#pragma once

#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/winograd_plan.h"
#include "cpu/gemm/micro_kernel.h"

namespace fastconv::cpu {

// V [group][tile][row]: transformed input. A row holds the channels of several points where they
//   are few, and a point has several rows where they are many, so that a row is what the
//   micro-kernel takes as one row of A.
// U [point][channel block][panel][channel][kTileColumns]: transformed weight, as panels of B.
template <class TheTarget>
class WinogradFloats {
 public:
  using Target = TheTarget;
  using Shape = GemmShape<Target::kIsa, float>;
  using Vector = typename Target::template Vector<float>;
  using Type = typename Vector::Type;
  static constexpr Isa kIsa = Target::kIsa;
  static constexpr DTypeSet kDTypes = only(DType::f32) | only(DType::bf16) | only(DType::f16);
  static constexpr int kChannelsTogether = 1;
  static constexpr int64_t kChannelUnit = 1;

  static constexpr double kErrorOfSixPoints = 2e-6, kErrorOfFourPoints = 5e-7;
  static constexpr const char* kNoteF4 =
      "Winograd F(4x4, 3x3), a quarter of the products; workspace 1 to 16 MB, or 1.2 MB a thread, "
      "beside the transformed weight (4 times the weight in float32)";
  static constexpr const char* kNoteF2 =
      "Winograd F(2x2, 3x3), 4/9 of the products; workspace 1 to 16 MB, or 1.2 MB a thread, "
      "beside the transformed weight (1.8 times the weight in float32)";

  static constexpr const char* kNoteF2Of5 =
      "Winograd F(2x2, 5x5), 9/25 of the products; workspace 1 to 16 MB, or 1.2 MB a thread, "
      "beside the transformed weight (1.4 times the weight in float32)";

  static const char* reject(const Conv2dProblem&) { return nullptr; }
  static WinogradRates rates() { return winograd_float_rates(kIsa); }

  static WinogradPlan plan(const WinogradConv& conv, int64_t outputs, int threads) {
    return winograd_plan(conv, outputs, Shape::kLanes, Shape::kTileColumns, Shape::kDepth,
                         Shape::kTileRowStride, threads);
  }
  // Every finite number is fine.
  static bool serve_fprop(const Conv2dProblem&, const Conv2dTensors&, const std::byte*,
                          const Parallel&) {
    return true;
  }
  static bool serve_dgrad(const Conv2dProblem&, const Conv2dTensors&, const Parallel&) {
    return true;
  }

  explicit WinogradFloats(const WinogradPlan& plan) : plan_(plan) {}

  int64_t v_bytes() const { return plan_.v_elements() * int64_t{sizeof(float)}; }
  int64_t u_bytes() const { return plan_.u_elements() * int64_t{sizeof(float)}; }
  static void keep_magnitude(const Conv2dProblem&, const void*, std::byte*, const Parallel&) {}

  void begin_weight(std::byte* u) const {
    for (int64_t e = 0; e < plan_.tile_points(); ++e) {
      float* const end = reinterpret_cast<float*>(u) + plan_.u_point[e] + plan_.u_point_elements();
      for (int64_t i = 0; i < WinogradPlan::kLineBetween; ++i) end[i] = 0;
    }
  }

  // One vector of channels of a tile.
  auto keep_input(std::byte* v, int64_t channel) const {
    float* const at = reinterpret_cast<float*>(v) + plan_.v_channel(channel);
    return [this, at](int64_t tile, int e, Type value) {
      Vector::store(at + tile * plan_.row_stride + plan_.v_point[e], value);
    };
  }

  // One vector of filters of a channel.
  template <int kCount>
  void keep_weight(std::byte* u, int64_t filter, int64_t channel,
                   const Type (&points)[1][kCount]) const {
    const int64_t depth = plan_.depth, block = channel / depth * depth;
    const int64_t left = plan_.channels - block, block_channels = left < depth ? left : depth;
    const int64_t in_block =
        (filter / plan_.panel * block_channels + channel % depth) * plan_.panel +
        filter % plan_.panel;
    float* const to = reinterpret_cast<float*>(u) + plan_.u_block(channel) + in_block;
    for (int e = 0; e < kCount; ++e) Vector::store(to + plan_.u_point[e], points[0][e]);
  }

  // M[e] = V[e] * U[e] for `tiles` tiles and the filters of the range.
  void multiply_point(const std::byte* v, const std::byte* u, float* m, int64_t e, int64_t tiles,
                      Range filters) const {
    const Cuts heights(EvenParts::at_most(tiles, Shape::kTileRows, 1));
    for (int64_t channel = 0; channel < plan_.channels; channel += plan_.depth) {
      const int64_t left = plan_.channels - channel;
      const int64_t depth = left < plan_.depth ? left : plan_.depth;
      const Cuts sums(EvenParts::at_most(depth, kLongestSum, 1));
      const float* const block =
          reinterpret_cast<const float*>(u) + plan_.u_point[e] + plan_.u_block(channel);
      const float* const rows =
          reinterpret_cast<const float*>(v) + plan_.v_point[e] + plan_.v_channel(channel);
      for (int64_t part = 0; part < heights.parts; ++part) {
        const int64_t tile = heights.begin(part), height = heights.size(part);
        const auto a =
            TileOfA<float>::of_one_segment(rows + tile * plan_.row_stride, plan_.row_stride);
        const int64_t end = filters.begin + filters.size;
        for (int64_t j = filters.begin; j < end; j += plan_.panel) {
          const int64_t vectors_left = ceil_div(end - j, plan_.lanes);
          const int64_t vectors =
              vectors_left < Shape::kTileVectors ? vectors_left : int64_t{Shape::kTileVectors};
          const auto kernel = kMicroKernels<Target, float>.at[height - 1][vectors - 1];
          for (int64_t sum = 0; sum < sums.parts; ++sum) {
            const int64_t from = sums.begin(sum);
            const PanelOfB<float> panel{block + j * depth + from * plan_.panel, plan_.panel};
            float* const c = m + tile * plan_.m_stride + j;
            kernel({a,
                    from,
                    sums.size(sum),
                    panel,
                    Ahead<float>::in_panel(panel),
                    {c, plan_.m_stride, channel > 0 || sum > 0 ? c : nullptr, plan_.m_stride}});
          }
        }
      }
    }
  }

 private:
  const WinogradPlan& plan_;
};

}  // namespace fastconv::cpu
