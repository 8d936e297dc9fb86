// Convolution by Winograd's minimal filtering, fused per block of tiles: transform the input, one
// small GEMM for each point of the tile, transform the products back. To be included under an
// instruction set's pragma, last.
#pragma once

#include <atomic>

#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/winograd_floats.h"
#include "cpu/conv2d/winograd_plan.h"
#include "cpu/conv2d/winograd_tiles.h"
#include "cpu/conv2d/winograd_weight.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/dispatch_dtype.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

// Between: what V and U are and how they are multiplied, as WinogradFloats.
template <class Between, template <class> class Method>
class Winograd {
 public:
  using Target = typename Between::Target;
  using Tiles = WinogradTiles<Target, Method>;
  static constexpr int kOutputs = Method<Target>::kOutputs;

  Winograd(const WinogradConv& conv, int threads)
      : conv_(conv),
        plan_(Between::plan(conv, kOutputs, threads)),
        between_(plan_),
        threads_(threads) {}
  Winograd(const Winograd&) = delete;

  int64_t packed_bytes() const { return between_.u_bytes(); }

  template <class T>
  void pack(const T* weight, std::byte* u, const Parallel& parallel) const {
    between_.begin_weight(u);
    WinogradWeight<Target, Method>(conv_, plan_).transform(weight, between_, u, parallel);
  }

  int64_t workspace(bool weight_is_packed) const {
    Carver count(nullptr);
    if (!weight_is_packed) carve_u(count);
    carve_arrays(count, plan_.workers - 1);
    return count.bytes();
  }

  // packed is U, or null where it is to be made of weight. False where an output is not finite: y
  // is then to be computed in another way.
  template <class T>
  bool run(const T* x, const T* weight, const std::byte* packed, const T* bias, T* y,
           std::byte* workspace, const Parallel& parallel) const {
    Carver carver(workspace);
    if (packed == nullptr) {
      std::byte* const u = carve_u(carver);
      pack(weight, u, parallel);
      packed = u;
    }
    std::atomic<bool> finite{true};
    TaskQueue blocks(plan_.blocks.parts);
    parallel.for_each(plan_.workers, [&](int64_t worker) {
      Carver own = carver;
      const Arrays arrays = carve_arrays(own, worker);
      const Parallel inside = plan_.workers > 1 ? Parallel::alone() : parallel;
      for (int64_t block = blocks.take(); block >= 0 && finite; block = blocks.take()) {
        run_block(block, x, packed, bias, y, arrays, inside, finite);
      }
    });
    return finite;
  }

 private:
  struct Arrays {
    std::byte* v;
    float *m, *scratch;
  };

  std::byte* carve_u(Carver& carver) const { return carver.take<std::byte>(between_.u_bytes()); }

  // Those of a worker, behind those of the workers before it.
  Arrays carve_arrays(Carver& carver, int64_t worker) const {
    Arrays arrays{};
    for (int64_t index = 0; index <= worker; ++index) {
      arrays.v = carver.take<std::byte>(between_.v_bytes());
      arrays.m = carver.take<float>(plan_.m_elements());
      arrays.scratch =
          carver.take<float>(Tiles::Pixels::kScratchFloats * (plan_.workers > 1 ? 1 : threads_));
    }
    return arrays;
  }

  template <class T>
  void run_block(int64_t block, const T* x, const std::byte* u, const T* bias, T* y,
                 const Arrays& arrays, const Parallel& parallel, std::atomic<bool>& finite) const {
    const int64_t begin = plan_.blocks.begin(block), size = plan_.blocks.size(block);
    const int64_t runs = count_runs(begin, size);
    share(runs, ceil_div(conv_.channels, Tiles::kLanes), begin, size, arrays, parallel,
          [&](const Tiles& tiles, const TileRun& run, int64_t vector) {
            const int64_t channel = vector * Tiles::kLanes;
            tiles.transform_input(x, channel, run, between_.keep_input(arrays.v, channel));
          });
    multiply(arrays, u, size, parallel);
    share(runs, ceil_div(conv_.filters, Tiles::kLanes), begin, size, arrays, parallel,
          [&](const Tiles& tiles, const TileRun& run, int64_t vector) {
            if (!tiles.transform_output(arrays.m, bias, vector * Tiles::kLanes, run, y)) {
              finite = false;
            }
          });
  }

  int64_t count_runs(int64_t begin, int64_t size) const {
    int64_t runs = 0;
    for_each_tile_run(plan_, begin, size, Tiles::Pixels::kRunColumns,
                      [&](const TileRun&) { ++runs; });
    return runs;
  }

  // use(tiles, run, vector) for every run of tiles and vector of channels, over the threads. Runs
  // are cut in contiguous shares, so that a thread finds each of its own in one walk.
  template <class Use>
  void share(int64_t runs, int64_t vectors, int64_t begin, int64_t size, const Arrays& arrays,
             const Parallel& parallel, const Use& use) const {
    const int64_t shares = worker_count(runs * vectors, parallel.threads());
    parallel.for_each(shares, [&](int64_t index) {
      const EvenParts parts{runs * vectors, 1, shares};
      const int64_t from = parts.begin(index), to = from + parts.size(index);
      const Tiles tiles(conv_, plan_, arrays.scratch + index * Tiles::Pixels::kScratchFloats);
      int64_t at = 0;
      for_each_tile_run(plan_, begin, size, Tiles::Pixels::kRunColumns, [&](const TileRun& run) {
        for (int64_t vector = 0; vector < vectors; ++vector, ++at) {
          if (at >= from && at < to) use(tiles, run, vector);
        }
      });
    });
  }

  // Cut into points and, where those are few for the threads, panels.
  void multiply(const Arrays& arrays, const std::byte* u, int64_t tiles,
                const Parallel& parallel) const {
    const int64_t points = plan_.tile_points();
    const int64_t threads = parallel.threads();
    const int64_t wanted = threads == 1 ? 1 : ceil_div(4 * threads, points);
    const EvenParts columns{conv_.filters, plan_.panel,
                            wanted < plan_.panels ? wanted : plan_.panels};
    parallel.for_each(points * columns.parts, [&](int64_t task) {
      const int64_t part = task % columns.parts, e = task / columns.parts;
      between_.multiply_point(arrays.v, u, arrays.m + e * plan_.block_tiles * plan_.m_stride, e,
                              tiles, {columns.begin(part), columns.size(part)});
    });
  }

  WinogradConv conv_;
  WinogradPlan plan_;
  Between between_;
  int threads_;
};

// A convolution of any number of groups, one after another by the same kernel. Threads have groups
// of their own where those are enough.
template <class Kernel>
class WinogradGroups {
 public:
  WinogradGroups(const WinogradConv& conv, int threads)
      : conv_(conv),
        workers_(conv.groups > 1 && conv.groups >= threads ? threads : 1),
        kernel_(conv, workers_ > 1 ? 1 : threads) {}

  int64_t packed_bytes() const { return conv_.groups * kernel_.packed_bytes(); }

  template <class T>
  void pack(const T* weight, std::byte* u, const Parallel& parallel) const {
    for (int64_t g = 0; g < conv_.groups; ++g) {
      kernel_.pack(weight + g * conv_.weight_group, u + g * kernel_.packed_bytes(), parallel);
    }
  }

  int64_t workspace(bool weight_is_packed) const {
    return workers_ * kernel_.workspace(weight_is_packed);
  }

  // As Winograd::run().
  template <class T>
  bool run(const T* x, const T* weight, const std::byte* packed, const T* bias, T* y,
           std::byte* workspace, const Parallel& parallel) const {
    std::atomic<bool> finite{true};
    TaskQueue groups(conv_.groups);
    parallel.for_each(workers_, [&](int64_t worker) {
      std::byte* const own = workspace + worker * kernel_.workspace(packed != nullptr);
      const Parallel inside = workers_ > 1 ? Parallel::alone() : parallel;
      for (int64_t g = groups.take(); g >= 0 && finite; g = groups.take()) {
        const std::byte* const u =
            packed == nullptr ? nullptr : packed + g * kernel_.packed_bytes();
        if (!kernel_.run(x + g * conv_.x_group, weight + g * conv_.weight_group, u,
                         bias == nullptr ? nullptr : bias + g * conv_.filters,
                         y + g * conv_.y_group, own, inside)) {
          finite = false;
        }
      }
    });
    return finite;
  }

 private:
  WinogradConv conv_;
  int64_t workers_;
  Kernel kernel_;
};

// The entries of the lists. Elsewhere is the instruction set's direct algorithms, which compute
// what comes out infinite or NaN here.
template <class Between, template <class> class Method, class Elsewhere>
struct WinogradAlgorithm {
  using Kernel = WinogradGroups<Winograd<Between, Method>>;
  static constexpr int kOutputs = Winograd<Between, Method>::kOutputs;
  static constexpr int kTaps = Method<typename Between::Target>::kTaps;
  static constexpr bool kSixPoints = Method<typename Between::Target>::kPoints == 6;

  static const char* reject(const Conv2dProblem& p) {
    if (kSixPoints && p.precision == Precision::ieee)
      return "is less accurate than 'ieee' asks for";
    const char* const reason = Between::reject(p);
    return reason == nullptr ? winograd_reject(p, kTaps) : reason;
  }

  static int64_t fprop_workspace(const Conv2dProblem& p, int threads) {
    const int64_t own = Kernel(winograd_fprop(p), threads).workspace(p.weight_is_packed);
    const int64_t other = Elsewhere::fprop().workspace(p.unpacked(), threads);
    return larger(own, other);
  }
  static int64_t dgrad_workspace(const Conv2dProblem& p, int threads) {
    const int64_t own = Kernel(winograd_dgrad(p), threads).workspace(false);
    const int64_t other = Elsewhere::dgrad().workspace(p, threads);
    return larger(own, other);
  }

  static void fprop(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    const std::byte* const packed = p.weight_is_packed ? t.packed_weight : nullptr;
    const bool done =
        Between::serve_fprop(p, t, packed, parallel) && dispatch(p.dtype, [&](auto tag) {
          using T = typename decltype(tag)::type;
          return Kernel(winograd_fprop(p), parallel.threads())
              .run(static_cast<const T*>(t.input), static_cast<const T*>(t.weight), packed,
                   static_cast<const T*>(t.bias), static_cast<T*>(t.output), workspace, parallel);
        });
    if (!done) Elsewhere::fprop().run(p.unpacked(), t, workspace, parallel);
  }
  static void dgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    const bool done = Between::serve_dgrad(p, t, parallel) && dispatch(p.dtype, [&](auto tag) {
                        using T = typename decltype(tag)::type;
                        const T* const no_bias = nullptr;
                        return Kernel(winograd_dgrad(p), parallel.threads())
                            .run(static_cast<const T*>(t.output), static_cast<const T*>(t.weight),
                                 nullptr, no_bias, static_cast<T*>(t.input), workspace, parallel);
                      });
    if (!done) Elsewhere::dgrad().run(p, t, workspace, parallel);
  }

  static int64_t packed_weight_bytes(const Conv2dProblem& p) {
    return Kernel(winograd_fprop(p), 1).packed_bytes();
  }
  static void pack_weight(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* packed,
                          const Parallel& parallel) {
    dispatch(p.dtype, [&](auto tag) {
      Kernel(winograd_fprop(p), parallel.threads())
          .pack(static_cast<const typename decltype(tag)::type*>(t.weight), packed, parallel);
    });
    Between::keep_magnitude(p, t.weight, packed, parallel);
  }

  static double fprop_cost(const Conv2dProblem& p, int threads) {
    return winograd_seconds(winograd_fprop(p), kOutputs, Between::rates(), p.weight_is_packed,
                            threads);
  }
  static double dgrad_cost(const Conv2dProblem& p, int threads) {
    return winograd_seconds(winograd_dgrad(p), kOutputs, Between::rates(), false, threads);
  }

  static constexpr Conv2dAlgorithm fprop_algorithm(const char* name) {
    return {{name, "conv2d", "fprop", Between::kIsa, Between::kDTypes, kError, note()},
            reject,
            fprop_workspace,
            fprop,
            fprop_cost,
            packed_weight_bytes,
            pack_weight};
  }
  static constexpr Conv2dAlgorithm dgrad_algorithm(const char* name) {
    return {{name, "conv2d", "dgrad", Between::kIsa, Between::kDTypes, kError, note()},
            reject,
            dgrad_workspace,
            dgrad,
            dgrad_cost};
  }

 private:
  // fn(TypeTag<T>{}) for the dtypes of Between alone: no kernel for others is compiled.
  template <class F>
  static decltype(auto) dispatch(DType dtype, const F& fn) {
    if constexpr (Between::kDTypes != only(DType::f32)) {
      if (dtype == DType::bf16) return fn(TypeTag<bfloat16>{});
      if (dtype == DType::f16) return fn(TypeTag<float16>{});
    }
    return fn(TypeTag<float>{});
  }

  static constexpr double kError =
      kSixPoints ? Between::kErrorOfSixPoints : Between::kErrorOfFourPoints;
  static constexpr const char* note() {
    if constexpr (kTaps == 5) {
      return Between::kNoteF2Of5;
    } else {
      return kOutputs == 4 ? Between::kNoteF4 : Between::kNoteF2;
    }
  }
};

}  // namespace fastconv::cpu
