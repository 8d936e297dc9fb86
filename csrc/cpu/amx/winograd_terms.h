// What lies between the stages of Winograd's convolution as bfloat16 terms, and their products in
// AMX tiles. To be included under the AVX-512 pragma.
#pragma once

#include "cpu/amx/beside_products.h"
#include "cpu/amx/operand_magnitudes.h"
#include "cpu/amx/target.h"
#include "cpu/amx/tile_product.h"
#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/winograd_plan.h"

namespace fastconv::cpu {

// V [point][32 tiles][step of the channels]: transformed input, as tiles of A.
// U: the weight's largest magnitude, and on the next cache line [point][32 filters][step of the
//   channels]: transformed weight, as tiles of B.
template <class AmxTarget>
class WinogradTerms {
 public:
  using Target = Avx512;  // of the transforms
  using Vector = typename Target::template Vector<float>;
  using Type = typename Vector::Type;
  using Terms = typename AmxTarget::Terms;
  using Tiles = typename AmxTarget::Tiles;
  using Shape = GemmShape<Isa::amx, float>;
  static constexpr Isa kIsa = AmxTarget::Tiles::kIsa;
  static constexpr int kTerms = AmxTarget::kTerms;
  static constexpr DTypeSet kDTypes = only(DType::f32);
  static constexpr int kChannelsTogether = 2;
  static constexpr int64_t kChannelUnit = kAmxStep;

  static_assert(kTerms == 2 || kTerms == 3);
  static constexpr double kErrorOfSixPoints = kTerms == 3 ? 2e-6 : 8e-5;
  static constexpr double kErrorOfFourPoints = kTerms == 3 ? 5e-7 : 2e-5;
  static constexpr const char* kNoteF4 =
      kTerms == 3
          ? "Winograd F(4x4, 3x3), a quarter of the products, each as six of bfloat16 terms "
            "in AMX tiles; workspace 1 to 16 MB, or 1.2 MB a thread, beside the transformed "
            "weight (6 times the weight)"
          : "Winograd F(4x4, 3x3), a quarter of the products, each as three of bfloat16 "
            "terms in AMX tiles; workspace 1 to 16 MB, or 1.2 MB a thread, beside the "
            "transformed weight (4 times the weight)";
  static constexpr const char* kNoteF2 =
      kTerms == 3 ? "Winograd F(2x2, 3x3), 4/9 of the products, each as six of bfloat16 terms in "
                    "AMX tiles; workspace 1 to 16 MB, or 1.2 MB a thread, beside the transformed "
                    "weight (2.7 times the weight)"
                  : "Winograd F(2x2, 3x3), 4/9 of the products, each as three of bfloat16 terms in "
                    "AMX tiles; workspace 1 to 16 MB, or 1.2 MB a thread, beside the transformed "
                    "weight (1.8 times the weight)";

  static const char* reject(const Conv2dProblem& p) { return reject_terms<kTerms>(p); }
  static WinogradRates rates() { return winograd_term_rates(kTerms); }

  static WinogradPlan plan(const WinogradConv& conv, int64_t outputs, int threads) {
    const int64_t channels = round_up(conv.channels, kAmxStep);
    constexpr int64_t kBytes = kTerms * 2;
    return winograd_tile_plan(conv, outputs, Shape::kLanes, Shape::kTileRows, channels * kBytes,
                              threads);
  }
  // Of packed U, null where there is none.
  static bool serve_fprop(const Conv2dProblem& p, const Conv2dTensors& t, const std::byte* u,
                          const Parallel& parallel) {
    const uint32_t of_weight = u != nullptr
                                   ? *reinterpret_cast<const uint32_t*>(u)
                                   : weight_magnitudes<float>(p, t.weight, parallel).largest;
    return terms_serve(input_magnitudes<float>(p, t.input, parallel).largest, of_weight,
                       p.group_in_channels() * p.R * p.S);
  }
  static bool serve_dgrad(const Conv2dProblem& p, const Conv2dTensors& t,
                          const Parallel& parallel) {
    return terms_serve(output_magnitudes<float>(p, t.output, parallel).largest,
                       weight_magnitudes<float>(p, t.weight, parallel).largest,
                       p.group_out_channels() * p.R * p.S);
  }
  static void keep_magnitude(const Conv2dProblem& p, const void* weight, std::byte* u,
                             const Parallel& parallel) {
    *reinterpret_cast<uint32_t*>(u) = weight_magnitudes<float>(p, weight, parallel).largest;
  }

  explicit WinogradTerms(const WinogradPlan& plan)
      : plan_(plan),
        steps_(ceil_div(plan.channels, kAmxStep)),
        v_point_(plan.block_tiles / Shape::kTileRows * steps_ * kStepBytes + kSkew),
        u_point_(plan.panels * steps_ * kStepBytes + kSkew) {}

  int64_t v_bytes() const { return plan_.tile_points() * v_point_; }
  int64_t u_bytes() const { return kHeaderBytes + plan_.tile_points() * u_point_; }

  // What keep_weight leaves out: a packed weight is the same bytes every time.
  void begin_weight(std::byte* u) const {
    std::memset(u, 0, kHeaderBytes);
    for (int64_t e = 1; e <= plan_.tile_points(); ++e) {
      std::memset(u + kHeaderBytes + e * u_point_ - kSkew, 0, kSkew);
    }
  }

  auto keep_input(std::byte* v, int64_t channel) const {
    const int half = static_cast<int>(channel % kAmxStep / 16);
    std::byte* const at = v + channel / kAmxStep * kStepBytes + half * 32;
    // Channels that do not exist, in the step of one that does.
    const bool fills = half == 0 && channel + 16 >= plan_.channels;
    return [this, at, fills](int64_t tile, int e, Type value) {
      std::byte* const row = at + e * v_point_ + tile / 32 * steps_ * kStepBytes +
                             tile % 32 / 16 * kAmxTileBytes + tile % 16 * 64;
#pragma GCC unroll 3
      for (int term = 0; term < kTerms; ++term) {
        std::byte* const to = row + term * 2 * kAmxTileBytes;
        _mm256_store_si256(reinterpret_cast<__m256i*>(to), Terms::take_half_row(value));
        if (fills) _mm256_store_si256(reinterpret_cast<__m256i*>(to + 32), _mm256_setzero_si256());
      }
    };
  }

  // One vector of filters of two channels.
  template <int kCount>
  void keep_weight(std::byte* u, int64_t filter, int64_t channel, Type (&points)[2][kCount]) const {
    std::byte* const at =
        tile_of(u + kHeaderBytes + (filter / 32 * steps_ + channel / kAmxStep) * kStepBytes, 0,
                static_cast<int>(filter % 32 / 16)) +
        channel % kAmxStep / 2 * 64;
    for (int e = 0; e < kCount; ++e) {
#pragma GCC unroll 3
      for (int term = 0; term < kTerms; ++term) {
        _mm512_store_si512(tile_of(at + e * u_point_, term, 0),
                           Terms::take_pairs(points[0][e], points[1][e]));
      }
    }
  }

  // M[e] = V[e] * U[e] for `tiles` tiles and the filters of the range. A panel of U is read once,
  // from L3 where L2 does not hold it.
  void multiply_point(const std::byte* v, const std::byte* u, float* m, int64_t e, int64_t tiles,
                      Range filters) const {
    const TileScope<Tiles> scope;
    alignas(64) float more[2][Shape::kTileRows * Shape::kTileColumns];
    FetchAndMove<Terms, float> beside;
    for (int64_t step = 0; step < steps_; step += kSteps) {
      const int64_t steps = steps_ - step < kSteps ? steps_ - step : kSteps;
      const std::byte* const first_of_a = v + e * v_point_ + step * kStepBytes;
      for (int64_t j = filters.begin; j < filters.begin + filters.size; j += 32) {
        const std::byte* const b =
            u + kHeaderBytes + e * u_point_ + (j / 32 * steps_ + step) * kStepBytes;
        const int64_t columns = filters.begin + filters.size - j > 16 ? 32 : 16;
        for (int64_t i = 0; i < tiles; i += 32) {
          const std::byte* const tiles_of_a = first_of_a + i / 32 * steps_ * kStepBytes;
          const auto a = StepsOfA::of_tiles(tiles_of_a, steps, kStepBytes);
          // Six products leave time to fetch V: F(2x2) took 0.75 times as long on a busy core.
          // Three took 1.05 times.
          if constexpr (kTerms == 3) {
            beside.fetch = {tiles_of_a,
                            i + 32 < tiles ? tiles_of_a + steps_ * kStepBytes : first_of_a};
          }
          const int64_t rows = tiles - i > 16 ? 32 : 16;
          float* const c = m + i * plan_.m_stride + j;
          if (step == 0) {
            multiply_tiles<AmxTarget>(rows, columns, steps * kAmxStep, PartsOfSteps::all(), a, b,
                                      beside.fetch, c, plan_.m_stride);
            continue;
          }
          float* const sum = more[i / 32 % 2];
          multiply_tiles<AmxTarget>(rows, columns, steps * kAmxStep, PartsOfSteps::all(), a, b,
                                    beside, sum, Shape::kTileColumns);
          beside.sum = {sum, Shape::kTileColumns, rows,   columns, c, plan_.m_stride,
                        c,   plan_.m_stride,      nullptr};
        }
        beside.sum.finish();
      }
    }
  }

 private:
  static constexpr int64_t kStepBytes = kTerms * 2 * kAmxTileBytes;
  static constexpr int64_t kHeaderBytes = 64;
  // From point to point beside what they take: what a transform writes then falls into all sets of
  // L1, not into two of them.
  static constexpr int64_t kSkew = 3 * 64;
  // Of one running sum: 512 channels. With 1024 F(2x2) left its stated error.
  static constexpr int64_t kSteps = 16;
  static_assert(kSteps <= StepsOfA::kMost);

  const WinogradPlan& plan_;
  int64_t steps_, v_point_, u_point_;
};

}  // namespace fastconv::cpu
