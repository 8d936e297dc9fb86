// The entries of the depthwise algorithms, made from the vectors of one instruction set.
// Include this below a `#pragma GCC target`, with every other header included above it.
#pragma once

#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/depthwise_pixels.h"
#include "cpu/conv2d/depthwise_pixels_wgrad.h"
#include "cpu/conv2d/depthwise_planes.h"
#include "cpu/conv2d/depthwise_planes_wgrad.h"
#include "cpu/conv2d/depthwise_special.h"
#include "cpu/conv2d/depthwise_turned.h"
#include "cpu/dispatch_dtype.h"

namespace fastconv::cpu {
namespace {

// Vectors: Of<T> is the vector that elements of type T are computed with; Squares has the GEMM's,
// by which planes are turned round, or is void.
template <class Vectors>
struct Depthwise {
  template <class T>
  using V = typename Vectors::template Of<T>;
  template <class T>
  static constexpr bool kTurns =
      !std::is_void_v<typename Vectors::Squares> && !std::is_same_v<T, double>;

  static const char* reject(const Conv2dProblem& p) {
    return p.groups == p.C ? nullptr : "is for one input channel per group";
  }

  // use(kernel) with the kernel for this layout and size.
  template <class Use>
  static auto gather(const Conv2dProblem& p, const Conv2dTensors& t, bool dgrad, const Use& use) {
    return dispatch_dtype(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (PixelGather<V<T>, T>::fits(p)) return use(PixelGather<V<T>, T>(p, t, dgrad));
      if constexpr (kTurns<T>) {
        using Turned = TurnedGather<V<T>, typename Vectors::Squares, T>;
        if (Turned::fits(p)) return use(Turned(p, t, dgrad));
      }
      return use(PlaneGather<V<T>, T>(p, t, dgrad));
    });
  }

  template <class Use>
  static auto sums(const Conv2dProblem& p, const Conv2dTensors& t, const Use& use) {
    return dispatch_dtype(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (PixelWgrad<V<T>, T>::fits(p)) return use(PixelWgrad<V<T>, T>(p, t));
      if constexpr (kTurns<T>) {
        using Turned = TurnedWgrad<V<T>, typename Vectors::Squares, T>;
        if (Turned::fits(p)) return use(Turned(p, t));
      }
      return use(PlaneWgrad<V<T>, T>(p, t));
    });
  }

  template <bool kDgrad>
  static int64_t gather_workspace(const Conv2dProblem& p, int threads) {
    return gather(p, Conv2dTensors{}, kDgrad,
                  [&](const auto& kernel) { return kernel.workspace(threads); });
  }

  static int64_t wgrad_workspace(const Conv2dProblem& p, int threads) {
    return sums(p, Conv2dTensors{}, [&](const auto& kernel) { return kernel.workspace(threads); });
  }

  static void fprop(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    gather(p, t, false, [&](const auto& kernel) { kernel.run(workspace, parallel); });
  }

  static void dgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    gather(p, t, true, [&](const auto& kernel) { kernel.run(workspace, parallel); });
  }

  static void wgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    sums(p, t, [&](const auto& kernel) { kernel.run(workspace, parallel); });
    depthwise_redo_wgrad(p, t, parallel);
  }

  static constexpr double kError = 5e-7;
  static constexpr const char* kNote =
      "direct depthwise; workspace: about 20 KB of input per thread, or 64 channels of a small "
      "plane; "
      "for wgrad also partial sums";

  template <Isa kIsa>
  static constexpr Conv2dAlgorithm fprop_entry(const char* name) {
    return {{name, "conv2d", "fprop", kIsa, kAllDTypes, kError, kNote},
            reject,
            gather_workspace<false>,
            fprop,
            [](const Conv2dProblem& p, int threads) {
              return depthwise_fprop_seconds(p, kIsa, threads);
            }};
  }
  static constexpr Conv2dAlgorithm dgrad_entry(const char* name, Isa isa) {
    return {{name, "conv2d", "dgrad", isa, kAllDTypes, kError, kNote},
            reject,
            gather_workspace<true>,
            dgrad};
  }
  static constexpr Conv2dAlgorithm wgrad_entry(const char* name, Isa isa) {
    return {{name, "conv2d", "wgrad", isa, kAllDTypes, kError, kNote},
            reject,
            wgrad_workspace,
            wgrad,
            depthwise_wgrad_seconds};
  }
};

}  // namespace
}  // namespace fastconv::cpu
