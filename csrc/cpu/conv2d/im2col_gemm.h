// The three directions of im2col + GEMM as algorithms, for one instruction set. To be included
// under its pragma, last.
#pragma once

#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/gather_gemm.h"
#include "cpu/conv2d/weight_gradient_gemm.h"
#include "cpu/conv2d/zero_fill.h"
#include "cpu/dispatch_dtype.h"

namespace fastconv::cpu {

template <class Target>
struct Im2colGemm {
  static const char* takes_everything(const Conv2dProblem&) { return nullptr; }

  static int64_t fprop_workspace(const Conv2dProblem& p, int threads) {
    return dispatch_dtype(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      return GatherGemm<Target, T>(fprop_gather(p), threads).workspace(p.weight_is_packed);
    });
  }

  static void fprop(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    dispatch_dtype(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      using Accumulator = typename Storage<T>::Accumulator;
      // Left here by an algorithm that cannot go on, it is in that one's form.
      const std::byte* const packed = p.weight_is_packed ? t.packed_weight : nullptr;
      GatherGemm<Target, T>(fprop_gather(p), parallel.threads())
          .run(static_cast<const T*>(t.input), static_cast<const T*>(t.weight),
               reinterpret_cast<const Accumulator*>(packed), static_cast<const T*>(t.bias),
               static_cast<T*>(t.output), workspace, parallel);
    });
  }

  static int64_t packed_weight_bytes(const Conv2dProblem& p) {
    return dispatch_dtype(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      using Accumulator = typename Storage<T>::Accumulator;
      return WeightPanels<Target, T>(fprop_gather(p)).size() * int64_t{sizeof(Accumulator)};
    });
  }

  static void pack_weight(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* packed,
                          const Parallel& parallel) {
    dispatch_dtype(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      using Accumulator = typename Storage<T>::Accumulator;
      WeightPanels<Target, T>(fprop_gather(p))
          .pack(static_cast<const T*>(t.weight), reinterpret_cast<Accumulator*>(packed), parallel);
    });
  }

  static int64_t dgrad_workspace(const Conv2dProblem& p, int threads) {
    return dispatch_dtype(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      int64_t most = 0;
      for_each_dgrad_class(p, [&](const Gather& gather) {
        most = larger(most, GatherGemm<Target, T>(gather, threads).workspace(false));
      });
      return most;
    });
  }

  static void dgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    if (dgrad_has_holes(p)) fill_input_with_zeros(p, t.input, parallel);
    dispatch_dtype(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      T* const input = static_cast<T*>(t.input);
      for_each_dgrad_class(p, [&](const Gather& gather) {
        const T* const no_bias = nullptr;
        GatherGemm<Target, T>(gather, parallel.threads())
            .run(static_cast<const T*>(t.output), static_cast<const T*>(t.weight), nullptr, no_bias,
                 input, workspace, parallel);
      });
    });
  }

  static int64_t wgrad_workspace(const Conv2dProblem& p, int threads) {
    return dispatch_dtype(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      return WeightGradientGemm<Target, T>(p, threads).workspace();
    });
  }

  static void wgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    dispatch_dtype(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      WeightGradientGemm<Target, T>(p, parallel.threads())
          .run(static_cast<const T*>(t.input), static_cast<const T*>(t.output),
               static_cast<T*>(t.weight), workspace, parallel);
    });
  }

  static double fprop_cost(const Conv2dProblem& p, int threads) {
    return im2col_fprop_seconds(p, Target::kIsa, threads);
  }
  static double dgrad_cost(const Conv2dProblem& p, int threads) {
    return im2col_dgrad_seconds(p, Target::kIsa, threads);
  }

  static constexpr Conv2dAlgorithm fprop_algorithm(const char* name) {
    return {{name, "conv2d", "fprop", Target::kIsa, kAllDTypes, kError, kGatherNote},
            takes_everything,
            fprop_workspace,
            fprop,
            fprop_cost,
            packed_weight_bytes,
            pack_weight};
  }
  static constexpr Conv2dAlgorithm dgrad_algorithm(const char* name) {
    return {{name, "conv2d", "dgrad", Target::kIsa, kAllDTypes, kError, kGatherNote},
            takes_everything,
            dgrad_workspace,
            dgrad,
            dgrad_cost};
  }
  static constexpr Conv2dAlgorithm wgrad_algorithm(const char* name) {
    return {{name, "conv2d", "wgrad", Target::kIsa, kAllDTypes, kError, kWgradNote},
            takes_everything,
            wgrad_workspace,
            wgrad};
  }

 private:
  static constexpr double kError = 4e-7;
  static constexpr const char* kGatherNote =
      "im2col inside the packing of a blocked GEMM, sums of at most 128 products; workspace about "
      "0.6 MB a thread, and up to 0.5 MB for rows with their padding";
  static constexpr const char* kWgradNote =
      "im2col inside the packing of a blocked GEMM, sums of at most 128 pixels; workspace about "
      "0.9 MB a thread and, for small weights, up to 2^20 partial sums";
};

}  // namespace fastconv::cpu
