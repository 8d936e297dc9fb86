// Grouped convolution as algorithms, for one instruction set. To be included under its pragma,
// last.
#pragma once

#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/grouped_pixels.h"
#include "cpu/conv2d/grouped_wgrad.h"
#include "cpu/conv2d/zero_fill.h"
#include "cpu/dispatch_dtype.h"

namespace fastconv::cpu {

template <class Target>
struct Grouped {
  static constexpr int kLanes = GroupedPixels<Target>::kLanes;

  static const char* fprop_reject(const Conv2dProblem& p) { return grouped_reject(p, false); }
  static const char* dgrad_reject(const Conv2dProblem& p) { return grouped_reject(p, true); }

  static int64_t weight_bytes(const GroupedGather& gather) {
    return round_up(grouped_plan(gather, kLanes, 1).weight_elements() * int64_t{sizeof(float)}, 64);
  }
  static int64_t scratch_bytes(const GroupedGather& gather, int threads) {
    return GroupedPixels<Target>(gather, threads).workspace(threads);
  }
  static int64_t packed_weight_bytes(const Conv2dProblem& p) {
    return weight_bytes(fprop_gather(p));
  }
  static void pack_weight(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* packed,
                          const Parallel& parallel) {
    dispatch_float(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      GroupedPixels<Target>(fprop_gather(p), parallel.threads())
          .pack(static_cast<const T*>(t.weight), reinterpret_cast<float*>(packed), parallel);
    });
  }

  static int64_t fprop_workspace(const Conv2dProblem& p, int threads) {
    const int64_t scratch = scratch_bytes(fprop_gather(p), threads);
    return p.weight_is_packed ? scratch : scratch + packed_weight_bytes(p);
  }
  static void fprop(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    const GroupedPixels<Target> kernel(fprop_gather(p), parallel.threads());
    std::byte* const own = workspace + kernel.workspace(parallel.threads());
    if (!p.weight_is_packed) pack_weight(p, t, own, parallel);
    const std::byte* const packed = p.weight_is_packed ? t.packed_weight : own;
    dispatch_float(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      kernel.run(static_cast<const T*>(t.input), reinterpret_cast<const float*>(packed),
                 static_cast<const T*>(t.bias), static_cast<T*>(t.output), workspace, parallel);
    });
  }

  static int64_t dgrad_workspace(const Conv2dProblem& p, int threads) {
    int64_t most = 0;
    for_each_grouped_dgrad_class(p, [&](const GroupedGather& gather) {
      most = larger(most, scratch_bytes(gather, threads) + weight_bytes(gather));
    });
    return most;
  }
  static void dgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    if (dgrad_has_holes(p)) fill_input_with_zeros(p, t.input, parallel);
    dispatch_float(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T* const no_bias = nullptr;
      for_each_grouped_dgrad_class(p, [&](const GroupedGather& gather) {
        const GroupedPixels<Target> kernel(gather, parallel.threads());
        float* const packed =
            reinterpret_cast<float*>(workspace + kernel.workspace(parallel.threads()));
        kernel.pack(static_cast<const T*>(t.weight), packed, parallel);
        kernel.run(static_cast<const T*>(t.output), packed, no_bias, static_cast<T*>(t.input),
                   workspace, parallel);
      });
    });
  }

  static int64_t wgrad_workspace(const Conv2dProblem& p, int threads) {
    return GroupedWgrad<Target>(p).workspace(threads);
  }
  static void wgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    dispatch_float(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      GroupedWgrad<Target>(p).run(static_cast<const T*>(t.input), static_cast<const T*>(t.output),
                                  static_cast<T*>(t.weight), workspace, parallel);
    });
  }

  static double fprop_cost(const Conv2dProblem& p, int threads) {
    return grouped_seconds(fprop_gather(p), kLanes, p.weight_is_packed, threads);
  }
  static double dgrad_cost(const Conv2dProblem& p, int threads) {
    double sum = 0;
    for_each_grouped_dgrad_class(p, [&](const GroupedGather& gather) {
      sum += grouped_seconds(gather, kLanes, false, threads);
    });
    return sum;
  }

  static double wgrad_cost(const Conv2dProblem& p, int threads) {
    return grouped_wgrad_seconds(p, kLanes, threads);
  }

  static constexpr Conv2dAlgorithm fprop_algorithm(const char* name) {
    return {{name, "conv2d", "fprop", Target::kIsa, kDTypes, kError, kNote},
            fprop_reject,
            fprop_workspace,
            fprop,
            fprop_cost,
            packed_weight_bytes,
            pack_weight};
  }
  static constexpr Conv2dAlgorithm dgrad_algorithm(const char* name) {
    return {{name, "conv2d", "dgrad", Target::kIsa, kDTypes, kError, kNote},
            dgrad_reject,
            dgrad_workspace,
            dgrad,
            dgrad_cost};
  }
  static constexpr Conv2dAlgorithm wgrad_algorithm(const char* name) {
    return {{name, "conv2d", "wgrad", Target::kIsa, kDTypes, kError, kWgradNote},
            grouped_wgrad_reject,
            wgrad_workspace,
            wgrad,
            wgrad_cost};
  }

 private:
  static constexpr DTypeSet kDTypes =
      only(DType::f32) | only(DType::bf16) | only(DType::f16);  // summed in float
  static constexpr double kError = 4e-7;
  static constexpr const char* kNote =
      "direct, a vector for the filters of several groups, sums of at most 128 products; workspace "
      "is the weight, padded to whole vectors of filters, and up to 0.2 MB (2 MB where one row of "
      "windows needs as much) a thread";
  static constexpr const char* kWgradNote =
      "direct, a vector for the channels of several groups, sums of at most 128 products; "
      "workspace "
      "is up to 16 times the weight, padded to whole vectors of channels, but for many groups "
      "once, "
      "and 2 times that and 0.2 MB (2 MB where one row of windows needs as much) a thread";
};

}  // namespace fastconv::cpu
