// The three directions of im2col + GEMM on AMX tiles as algorithms, for one number of bfloat16
// terms. To be included under the AVX-512 pragma, last.
#pragma once

#include "cpu/amx/gemm_block.h"
#include "cpu/amx/operand_magnitudes.h"
#include "cpu/amx/terms_of_dtype.h"
#include "cpu/amx/weight_tiles.h"
#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/entries.h"
#include "cpu/conv2d/gather_gemm.h"
#include "cpu/conv2d/weight_gradient_gemm.h"
#include "cpu/conv2d/zero_fill.h"

namespace fastconv::cpu {
namespace {

template <class Tiles, int kTerms>
class AmxConvolution {
 public:
  static constexpr Conv2dAlgorithm fprop_algorithm(const char* name) {
    return {{name, "conv2d", "fprop", Tiles::kIsa, kDTypesOfTerms<kTerms>, kError, kGatherNote},
            reject,
            fprop_workspace,
            fprop,
            fprop_cost,
            packed_weight_bytes,
            pack_weight};
  }
  static constexpr Conv2dAlgorithm dgrad_algorithm(const char* name) {
    return {{name, "conv2d", "dgrad", Tiles::kIsa, kDTypesOfTerms<kTerms>, kError, kGatherNote},
            reject,
            dgrad_workspace,
            dgrad,
            dgrad_cost};
  }
  static constexpr Conv2dAlgorithm wgrad_algorithm(const char* name) {
    return {{name, "conv2d", "wgrad", Tiles::kIsa, kDTypesOfTerms<kTerms>, kError, kWgradNote},
            reject,
            wgrad_workspace,
            wgrad,
            wgrad_cost};
  }

 private:
  template <class T>
  using TargetOf = TargetOfTerms<Tiles, kTerms, T>;

  static constexpr double kError = kTerms == 1 ? 4e-3 : kTerms == 2 ? 1e-5 : 4e-7;
  static constexpr const char* kGatherNote =
      kTerms == 1
          ? "bfloat16 products, tile by tile, sums of at most 1024 in float32 (256 of float32 "
            "tensors); workspace about 1.5 MB a thread, and the weight as bfloat16"
      : kTerms == 2
          ? "two bfloat16 terms and three products in AMX tiles, sums of at most 256 in float32; "
            "workspace about 0.9 MB a thread, and the weight in terms (as large as itself)"
          : "three bfloat16 terms and six products in AMX tiles, sums of at most 256 in float32; "
            "workspace about 1.1 MB a thread, and the weight in terms (1.5 times itself)";
  static constexpr const char* kWgradNote =
      kTerms == 1 ? "bfloat16 products, tile by tile, sums of at most 1024 pixels (256 of float32 "
                    "tensors); workspace about 2 MB a thread and, for small weights, partial sums"
      : kTerms == 2
          ? "two bfloat16 terms and three products in AMX tiles, sums of at most 256 pixels; "
            "workspace about 1.2 MB a thread and, for small weights, up to 2^20 partial sums"
          : "three bfloat16 terms and six products in AMX tiles, sums of at most 256 pixels; "
            "workspace about 1.4 MB a thread and, for small weights, up to 2^20 partial sums";

  static const char* reject(const Conv2dProblem& p) { return reject_terms<kTerms>(p); }

  // In front of a packed weight. The tiles are those of one layout of the product: a call with
  // another one packs for itself.
  struct alignas(64) PackedHeader {
    Magnitudes magnitudes;
    bool filters_are_rows, channel_innermost;
    std::byte unused[54];

    bool fits(const Gather& gather) const {
      return filters_are_rows == gather.pixels_are_columns &&
             channel_innermost == gather.x.channel_innermost;
    }
  };

  static int64_t packed_weight_bytes(const Conv2dProblem& p) {
    return dispatch_terms<kTerms>(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      return int64_t{sizeof(PackedHeader)} + WeightPanels<TargetOf<T>, T>(fprop_gather(p)).size();
    });
  }
  static void pack_weight(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* packed,
                          const Parallel& parallel) {
    dispatch_terms<kTerms>(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      const Gather gather = fprop_gather(p);
      const PackedHeader header{weight_magnitudes<T>(p, t.weight, parallel),
                                gather.pixels_are_columns,
                                gather.x.channel_innermost,
                                {}};
      std::memcpy(packed, &header, sizeof header);
      WeightPanels<TargetOf<T>, T>(gather).pack(static_cast<const T*>(t.weight),
                                                packed + sizeof header, parallel);
    });
  }

  static int64_t fprop_workspace(const Conv2dProblem& p, int threads) {
    return dispatch_terms<kTerms>(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      return larger(conv2d_fprop_im2col_gemm_avx512.workspace(p.unpacked(), threads),
                    GatherGemm<TargetOf<T>, T>(fprop_gather(p), threads).workspace(false));
    });
  }

  static void fprop(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    dispatch_terms<kTerms>(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      PackedHeader header;
      if (p.weight_is_packed) std::memcpy(&header, t.packed_weight, sizeof header);
      const Magnitudes of_weight =
          p.weight_is_packed ? header.magnitudes : weight_magnitudes<T>(p, t.weight, parallel);
      const Gather gather = fprop_gather(p);
      const auto multiply = [&] {
        const bool takes_packed = p.weight_is_packed && header.fits(gather);
        return GatherGemm<TargetOf<T>, T>(gather, parallel.threads())
            .run(static_cast<const T*>(t.input), static_cast<const T*>(t.weight),
                 takes_packed ? t.packed_weight + sizeof header : nullptr,
                 static_cast<const T*>(t.bias), static_cast<T*>(t.output), workspace, parallel);
      };
      if (!multiply_in_terms(of_weight, gather.x.depth(), multiply,
                             [&] { return input_magnitudes<T>(p, t.input, parallel); })) {
        conv2d_fprop_im2col_gemm_avx512.run(p.unpacked(), t, workspace, parallel);
      }
    });
  }

  static int64_t dgrad_workspace(const Conv2dProblem& p, int threads) {
    return dispatch_terms<kTerms>(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      int64_t most = conv2d_dgrad_im2col_gemm_avx512.workspace(p, threads);
      for_each_dgrad_class(p, [&](const Gather& gather) {
        most = larger(most, GatherGemm<TargetOf<T>, T>(gather, threads).workspace(false));
      });
      return most;
    });
  }

  static void dgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    dispatch_terms<kTerms>(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      const auto multiply = [&] {
        if (dgrad_has_holes(p)) fill_input_with_zeros(p, t.input, parallel);
        Largest largest_sum;
        for_each_dgrad_class(p, [&](const Gather& gather) {
          const T* const no_bias = nullptr;
          const uint32_t sum =
              GatherGemm<TargetOf<T>, T>(gather, parallel.threads())
                  .run(static_cast<const T*>(t.output), static_cast<const T*>(t.weight), nullptr,
                       no_bias, static_cast<T*>(t.input), workspace, parallel);
          largest_sum.see(sum);
        });
        return largest_sum.value();
      };
      if (!multiply_in_terms(weight_magnitudes<T>(p, t.weight, parallel),
                             p.group_out_channels() * p.R * p.S, multiply,
                             [&] { return output_magnitudes<T>(p, t.output, parallel); })) {
        conv2d_dgrad_im2col_gemm_avx512.run(p, t, workspace, parallel);
      }
    });
  }

  static int64_t wgrad_workspace(const Conv2dProblem& p, int threads) {
    return dispatch_terms<kTerms>(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      return larger(conv2d_wgrad_im2col_gemm_avx512.workspace(p, threads),
                    WeightGradientGemm<TargetOf<T>, T>(p, threads).workspace());
    });
  }

  static void wgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    dispatch_terms<kTerms>(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      const auto multiply = [&] {
        return WeightGradientGemm<TargetOf<T>, T>(p, parallel.threads())
            .run(static_cast<const T*>(t.input), static_cast<const T*>(t.output),
                 static_cast<T*>(t.weight), workspace, parallel);
      };
      if (!multiply_in_terms(output_magnitudes<T>(p, t.output, parallel), p.N * p.P * p.Q, multiply,
                             [&] { return input_magnitudes<T>(p, t.input, parallel); })) {
        conv2d_wgrad_im2col_gemm_avx512.run(p, t, workspace, parallel);
      }
    });
  }

  static double fprop_cost(const Conv2dProblem& p, int threads) {
    return terms_fprop_seconds(p, Tiles::kIsa, kTerms, threads);
  }
  static double dgrad_cost(const Conv2dProblem& p, int threads) {
    return terms_dgrad_seconds(p, Tiles::kIsa, kTerms, threads);
  }
  static double wgrad_cost(const Conv2dProblem& p, int threads) {
    return terms_wgrad_seconds(p, Tiles::kIsa, kTerms, threads);
  }
};

}  // namespace
}  // namespace fastconv::cpu
