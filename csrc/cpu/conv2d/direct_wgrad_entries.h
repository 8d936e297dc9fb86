// The direct weight gradient as an algorithm, for one instruction set. To be included under its
// pragma, last.
#pragma once

#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/direct_wgrad.h"

namespace fastconv::cpu {

template <class Target>
struct DirectWgradEntry {
  static const char* reject(const Conv2dProblem& p) { return direct_wgrad_reject(p, Target::kIsa); }
  static int64_t workspace(const Conv2dProblem& p, int threads) {
    return DirectWgrad<Target>(p, threads).workspace();
  }
  static void run(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                  const Parallel& parallel) {
    DirectWgrad<Target>(p, parallel.threads())
        .run(static_cast<const float*>(t.input), static_cast<const float*>(t.output),
             static_cast<float*>(t.weight), workspace, parallel);
  }
  static double cost(const Conv2dProblem& p, int threads) {
    return direct_wgrad_seconds(p, Target::kIsa, threads);
  }
  static constexpr Conv2dAlgorithm algorithm(const char* name) {
    return {{name, "conv2d", "wgrad", Target::kIsa, only(DType::f32), kError, kNote},
            reject,
            workspace,
            run,
            cost};
  }

 private:
  static constexpr double kError = 4e-7;
  static constexpr const char* kNote =
      "each tap's products formed where the tensors lie, sums of at most 128 pixels; workspace "
      "about 1.5 MB a thread and, for small weights, up to 2^20 partial sums";
};

}  // namespace fastconv::cpu
