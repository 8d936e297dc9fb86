// The three directions of im2col + GEMM on AMX tiles as algorithms, for one number of bfloat16
// terms. To be included under the AVX-512 pragma, last.
#pragma once

#include "cpu/amx/gemm_block.h"
#include "cpu/amx/magnitude.h"
#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/entries.h"
#include "cpu/conv2d/gather_gemm.h"
#include "cpu/conv2d/weight_gradient_gemm.h"
#include "cpu/conv2d/zero_fill.h"
#include "cpu/dispatch_dtype.h"

namespace fastconv::cpu {
namespace {

template <class Tiles, int kTerms>
class AmxConvolution {
 public:
  static constexpr Conv2dAlgorithm fprop_algorithm(const char* name) {
    return {{name, "conv2d", "fprop", Tiles::kIsa, kDTypes, kError, kNote},
            reject,
            fprop_workspace,
            fprop,
            gather_cost};
  }
  static constexpr Conv2dAlgorithm dgrad_algorithm(const char* name) {
    return {{name, "conv2d", "dgrad", Tiles::kIsa, kDTypes, kError, kNote},
            reject,
            dgrad_workspace,
            dgrad,
            gather_cost};
  }
  static constexpr Conv2dAlgorithm wgrad_algorithm(const char* name) {
    return {{name, "conv2d", "wgrad", Tiles::kIsa, kDTypes, kError, kNote},
            reject,
            wgrad_workspace,
            wgrad,
            wgrad_cost};
  }

 private:
  using Target = AmxTarget<Tiles, kTerms>;

  // bfloat16 is one term and float16 exactly two; a sum of one product of them is as good as their
  // rounding lets it be.
  static constexpr DTypeSet kDTypes = kTerms == 1   ? only(DType::f32) | only(DType::bf16)
                                      : kTerms == 2 ? only(DType::f32) | only(DType::f16)
                                                    : only(DType::f32);
  static constexpr double kError = kTerms == 1 ? 4e-3 : kTerms == 2 ? 1e-5 : 4e-7;
  static constexpr const char* kNote =
      kTerms == 1   ? "bfloat16 products in AMX tiles, sums of at most 256 in float32; workspace "
                      "about 0.8 MB a thread"
      : kTerms == 2 ? "two bfloat16 terms and three products in AMX tiles, sums of at most 256 in "
                      "float32; workspace about 0.9 MB a thread"
                    : "three bfloat16 terms and six products in AMX tiles, sums of at most 256 in "
                      "float32; workspace about 1.1 MB a thread";

  static const char* reject(const Conv2dProblem& p) {
    if (p.dtype != DType::f32 || kTerms == 3 || p.precision == Precision::bf16) return nullptr;
    if (kTerms == 2 && p.precision == Precision::tf32) return nullptr;
    return "less exact than the fp32_precision in force allows";
  }

  // fn(TypeTag<T>{}) for the dtypes of this algorithm alone: no kernel for others is compiled.
  template <class F>
  static decltype(auto) dispatch(DType dtype, const F& fn) {
    if constexpr (kTerms == 1) {
      if (dtype == DType::bf16) return fn(TypeTag<bfloat16>{});
    } else if constexpr (kTerms == 2) {
      if (dtype == DType::f16) return fn(TypeTag<float16>{});
    }
    return fn(TypeTag<float>{});
  }

  template <class T>
  static uint32_t input_magnitude(const Conv2dProblem& p, const void* input,
                                  const Parallel& parallel) {
    return largest_magnitude(
        static_cast<const T*>(input),
        {{p.N, p.input.n}, {p.C, p.input.c}, {p.H, p.input.h}, {p.W, p.input.w}}, parallel);
  }
  template <class T>
  static uint32_t weight_magnitude(const Conv2dProblem& p, const void* weight,
                                   const Parallel& parallel) {
    return largest_magnitude(static_cast<const T*>(weight),
                             {{p.K, p.weight.n},
                              {p.group_in_channels(), p.weight.c},
                              {p.R, p.weight.h},
                              {p.S, p.weight.w}},
                             parallel);
  }
  template <class T>
  static uint32_t output_magnitude(const Conv2dProblem& p, const void* output,
                                   const Parallel& parallel) {
    return largest_magnitude(
        static_cast<const T*>(output),
        {{p.N, p.output.n}, {p.K, p.output.c}, {p.P, p.output.h}, {p.Q, p.output.w}}, parallel);
  }

  static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

  static int64_t fprop_workspace(const Conv2dProblem& p, int threads) {
    return dispatch(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      return larger(conv2d_fprop_im2col_gemm_avx512.workspace(p, threads),
                    GatherGemm<Target, T>(fprop_gather(p), threads).workspace(false));
    });
  }

  static void fprop(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    dispatch(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (!terms_serve(input_magnitude<T>(p, t.input, parallel),
                       weight_magnitude<T>(p, t.weight, parallel),
                       p.group_in_channels() * p.R * p.S)) {
        conv2d_fprop_im2col_gemm_avx512.run(p, t, workspace, parallel);
        return;
      }
      GatherGemm<Target, T>(fprop_gather(p), parallel.threads())
          .run(static_cast<const T*>(t.input), static_cast<const T*>(t.weight), nullptr,
               static_cast<const T*>(t.bias), static_cast<T*>(t.output), workspace, parallel);
    });
  }

  static int64_t dgrad_workspace(const Conv2dProblem& p, int threads) {
    return dispatch(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      int64_t most = conv2d_dgrad_im2col_gemm_avx512.workspace(p, threads);
      for_each_dgrad_class(p, [&](const Gather& gather) {
        most = larger(most, GatherGemm<Target, T>(gather, threads).workspace(false));
      });
      return most;
    });
  }

  static void dgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    dispatch(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (!terms_serve(output_magnitude<T>(p, t.output, parallel),
                       weight_magnitude<T>(p, t.weight, parallel),
                       p.group_out_channels() * p.R * p.S)) {
        conv2d_dgrad_im2col_gemm_avx512.run(p, t, workspace, parallel);
        return;
      }
      if (dgrad_has_holes(p)) fill_input_with_zeros(p, t.input, parallel);
      for_each_dgrad_class(p, [&](const Gather& gather) {
        const T* const no_bias = nullptr;
        GatherGemm<Target, T>(gather, parallel.threads())
            .run(static_cast<const T*>(t.output), static_cast<const T*>(t.weight), nullptr, no_bias,
                 static_cast<T*>(t.input), workspace, parallel);
      });
    });
  }

  static int64_t wgrad_workspace(const Conv2dProblem& p, int threads) {
    return dispatch(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      return larger(conv2d_wgrad_im2col_gemm_avx512.workspace(p, threads),
                    WeightGradientGemm<Target, T>(p, threads).workspace());
    });
  }

  static void wgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    dispatch(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (!terms_serve(input_magnitude<T>(p, t.input, parallel),
                       output_magnitude<T>(p, t.output, parallel), p.N * p.P * p.Q)) {
        conv2d_wgrad_im2col_gemm_avx512.run(p, t, workspace, parallel);
        return;
      }
      WeightGradientGemm<Target, T>(p, parallel.threads())
          .run(static_cast<const T*>(t.input), static_cast<const T*>(t.output),
               static_cast<T*>(t.weight), workspace, parallel);
    });
  }

  // Rates of a core of a Sapphire Rapids, from measurements of prototypes; this code itself has
  // never been timed on AMX.
  static double seconds(int64_t groups, int64_t rows, int64_t columns, int64_t depth, int threads) {
    constexpr double kFlopsPerSecond = kTerms == 1 ? 1200e9 : kTerms == 2 ? 390e9 : 190e9;
    constexpr double kSplitSeconds = 0.5e-9;  // of one element, packed and split
    const auto whole = [](int64_t extent, int64_t unit) {
      return static_cast<double>(round_up(extent, unit));
    };
    const double products = whole(rows, kAmxTileRows) * whole(columns, 16) * whole(depth, kAmxStep);
    const double blocks_of_columns = static_cast<double>(ceil_div(columns, kBlockColumns));
    const double packed = whole(depth, kAmxStep) *
                          (whole(rows, kAmxTileRows) * blocks_of_columns + whole(columns, 16));
    return static_cast<double>(groups) * (2 * products / kFlopsPerSecond + packed * kSplitSeconds) /
           threads;
  }

  static double gather_cost(const Conv2dProblem& p, int threads) {
    return seconds(p.groups, p.group_out_channels(), p.N * p.P * p.Q,
                   p.group_in_channels() * p.R * p.S, threads);
  }
  static double wgrad_cost(const Conv2dProblem& p, int threads) {
    return seconds(p.groups, p.group_out_channels(), p.group_in_channels() * p.R * p.S,
                   p.N * p.P * p.Q, threads);
  }
};

}  // namespace
}  // namespace fastconv::cpu
