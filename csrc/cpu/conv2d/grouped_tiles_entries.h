// Grouped convolution on AMX tiles as algorithms, for one number of bfloat16 terms. To be included
// under the AVX-512 pragma, last.
#pragma once

#include "cpu/amx/operand_magnitudes.h"
#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/entries.h"
#include "cpu/conv2d/grouped_tiles.h"
#include "cpu/conv2d/zero_fill.h"

namespace fastconv::cpu {

// Tiles: AmxTiles or what emulates them.
template <class Tiles, int kTerms>
class GroupedOfTerms {
 public:
  static constexpr Conv2dAlgorithm fprop_algorithm(const char* name) {
    return {{name, "conv2d", "fprop", Tiles::kIsa, kDTypesOfTerms<kTerms>, kError, kNote},
            fprop_reject,
            fprop_workspace,
            fprop,
            fprop_cost,
            packed_weight_bytes,
            pack_weight};
  }
  static constexpr Conv2dAlgorithm dgrad_algorithm(const char* name) {
    return {{name, "conv2d", "dgrad", Tiles::kIsa, kDTypesOfTerms<kTerms>, kError, kNote},
            dgrad_reject,
            dgrad_workspace,
            dgrad,
            dgrad_cost};
  }

 private:
  template <class T>
  using Kernel = GroupedTiles<TargetOfTerms<Tiles, kTerms, T>, T>;

  static constexpr double kError = kTerms == 1 ? 4e-3 : 1e-5;
  static constexpr const char* kNote =
      kTerms == 1
          ? "bfloat16 products, tile by tile, 32 channels of several groups against 32 filters; "
            "workspace up to 0.9 MB a thread (4.5 MB where one row of windows needs as much), and "
            "the weight in tiles, 2 KiB for each tap of so many"
          : "two bfloat16 terms and three products (four of float16) in AMX tiles, 32 channels of "
            "several groups against 32 filters; workspace up to 0.9 MB a thread (4.5 MB where one "
            "row of windows needs as much), and the weight in tiles, 4 KiB for each tap of so many";

  // In front of a packed weight.
  struct alignas(64) PackedHeader {
    Magnitudes magnitudes;
    std::byte unused[56];
  };

  static const char* reject(const Conv2dProblem& p, bool dgrad) {
    const char* const reason = reject_terms<kTerms>(p);
    return reason != nullptr ? reason : grouped_tiles_reject(p, dgrad);
  }
  static const char* fprop_reject(const Conv2dProblem& p) { return reject(p, false); }
  static const char* dgrad_reject(const Conv2dProblem& p) { return reject(p, true); }

  static int64_t packed_weight_bytes(const Conv2dProblem& p) {
    return dispatch_terms<kTerms>(p.dtype, [&](auto tag) {
      return int64_t{sizeof(PackedHeader)} +
             Kernel<typename decltype(tag)::type>(fprop_gather(p), 1).weight_bytes();
    });
  }
  static void pack_weight(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* packed,
                          const Parallel& parallel) {
    dispatch_terms<kTerms>(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      const PackedHeader header{weight_magnitudes<T>(p, t.weight, parallel), {}};
      std::memcpy(packed, &header, sizeof header);
      Kernel<T>(fprop_gather(p), 1)
          .pack(static_cast<const T*>(t.weight), packed + sizeof header, parallel);
    });
  }

  static int64_t fprop_workspace(const Conv2dProblem& p, int threads) {
    return dispatch_terms<kTerms>(p.dtype, [&](auto tag) {
      const Kernel<typename decltype(tag)::type> kernel(fprop_gather(p), threads);
      return larger(conv2d_fprop_grouped_avx512.workspace(p.unpacked(), threads),
                    kernel.workspace(threads) + (p.weight_is_packed ? 0 : kernel.weight_bytes()));
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
        const Kernel<T> kernel(gather, parallel.threads());
        std::byte* const own = workspace + kernel.workspace(parallel.threads());
        if (!p.weight_is_packed) kernel.pack(static_cast<const T*>(t.weight), own, parallel);
        const std::byte* const packed = p.weight_is_packed ? t.packed_weight + sizeof header : own;
        return kernel.run(static_cast<const T*>(t.input), packed, static_cast<const T*>(t.bias),
                          static_cast<T*>(t.output), workspace, parallel);
      };
      if (!multiply_in_terms(of_weight, gather.x.depth(), multiply,
                             [&] { return input_magnitudes<T>(p, t.input, parallel); })) {
        conv2d_fprop_grouped_avx512.run(p.unpacked(), t, workspace, parallel);
      }
    });
  }

  static int64_t dgrad_workspace(const Conv2dProblem& p, int threads) {
    return dispatch_terms<kTerms>(p.dtype, [&](auto tag) {
      int64_t most = conv2d_dgrad_grouped_avx512.workspace(p, threads);
      for_each_dgrad_class(p, [&](const Gather& gather) {
        const Kernel<typename decltype(tag)::type> kernel(gather, threads);
        most = larger(most, kernel.workspace(threads) + kernel.weight_bytes());
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
          const Kernel<T> kernel(gather, parallel.threads());
          std::byte* const packed = workspace + kernel.workspace(parallel.threads());
          const T* const no_bias = nullptr;
          kernel.pack(static_cast<const T*>(t.weight), packed, parallel);
          const uint32_t sum = kernel.run(static_cast<const T*>(t.output), packed, no_bias,
                                          static_cast<T*>(t.input), workspace, parallel);
          largest_sum.see(sum);
        });
        return largest_sum.value();
      };
      if (!multiply_in_terms(weight_magnitudes<T>(p, t.weight, parallel),
                             p.group_out_channels() * p.R * p.S, multiply,
                             [&] { return output_magnitudes<T>(p, t.output, parallel); })) {
        conv2d_dgrad_grouped_avx512.run(p, t, workspace, parallel);
      }
    });
  }

  static double fprop_cost(const Conv2dProblem& p, int threads) {
    return grouped_tiles_seconds(fprop_gather(p), Tiles::kIsa, kTerms, p.weight_is_packed, threads);
  }
  static double dgrad_cost(const Conv2dProblem& p, int threads) {
    return sum_over_dgrad_classes(p, [&](const Gather& gather) {
      return grouped_tiles_seconds(gather, Tiles::kIsa, kTerms, false, threads);
    });
  }
};

}  // namespace fastconv::cpu
