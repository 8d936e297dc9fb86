// Forward pooling with vectors over channels, for channels_last tensors: every cell of a window is
// one contiguous load, and all lanes share the cell's index.
//
// Include this below a `#pragma GCC target`, with its own includes already included above it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/dispatch_dtype.h"
#include "cpu/max_pool2d/algorithms.h"
#include "cpu/max_pool2d/tasks.h"
#include "cpu/max_pool2d/vector_order.h"
#include "cpu/max_pool2d/window.h"

namespace fastconv::cpu {
namespace {

template <class V, class T, bool kWithIndices>
class ChannelPool {
  using Vector = typename V::Vector;
  using Indices = typename V::Indices;
  static constexpr int64_t kLanes = V::kLanes;
  // Vectors of one window at a time: enough to pay for walking the window, few enough for
  // registers.
  static constexpr int kBlock = 4;

 public:
  ChannelPool(const Pool2dProblem& problem, const MaxPool2dTensors& tensors)
      : p_(problem), t_(tensors) {}

  // Output rows counted through all images.
  void run(Share rows) const {
    for (int64_t row = rows.begin; row < rows.end; ++row) pool_row(row / p_.P, row % p_.P);
  }

 private:
  void pool_row(int64_t n, int64_t op) const {
    const T* image = static_cast<const T*>(t_.input) + n * p_.input.n;
    const WindowAxis h = window_rows(p_, op);
    for (int64_t oq = 0; oq < p_.Q; ++oq) {
      const WindowAxis w = window_columns(p_, oq);
      const int64_t output = n * p_.output.n + op * p_.output.h + oq * p_.output.w;
      int64_t c = 0;
      for (; c + kBlock * kLanes <= p_.C; c += kBlock * kLanes) {
        pool_window<kBlock>(image + c, h, w, output + c, kBlock * kLanes);
      }
      for (; c < p_.C; c += kLanes) pool_window<1>(image + c, h, w, output + c, p_.C - c);
    }
  }

  template <int kVectors>
  void pool_window(const T* image, const WindowAxis& h, const WindowAxis& w, int64_t output,
                   int64_t channels) const {
    const int64_t base = h.fallback * p_.W;
    Vector best[kVectors];
    Indices index[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      best[v] = V::lowest();
      index[v] = V::splat(base + w.fallback);
    }
    for (int64_t ih = h.first; ih < h.end; ih += h.step) {
      for (int64_t iw = w.first; iw < w.end; iw += w.step) {
        const T* cell = image + ih * p_.input.h + iw * p_.input.w;
        const Indices cell_index = V::splat(ih * p_.W + iw);
        for (int v = 0; v < kVectors; ++v) {
          take_larger<V, kWithIndices>(V::load_first(cell + v * kLanes, channels - v * kLanes),
                                       cell_index, best[v], index[v]);
        }
      }
    }
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = output + v * kLanes, left = channels - v * kLanes;
      V::store_first(static_cast<T*>(t_.output) + at, best[v], left);
      if constexpr (kWithIndices) V::store_wide_first(t_.indices + at, index[v], base, left);
    }
  }

  const Pool2dProblem& p_;
  const MaxPool2dTensors& t_;
};

template <class V, class T>
void forward_channels(const Pool2dProblem& p, const MaxPool2dTensors& t, const Parallel& parallel) {
  const int64_t rows = p.N * p.P;
  const int64_t tasks = task_count(p.N * p.C * p.H * p.W, parallel.threads());
  parallel.for_each(tasks, [&](int64_t task) {
    const Share share = share_of(rows, task, tasks);
    if (t.indices != nullptr) {
      ChannelPool<V, T, true>(p, t).run(share);
    } else {
      ChannelPool<V, T, false>(p, t).run(share);
    }
  });
}

const char* reject_channels(const Pool2dProblem& p) {
  if (p.input.c != 1 || p.output.c != 1) return "channels are not contiguous";
  return reject_wide_windows(p);
}

int64_t forward_channels_workspace(const Pool2dProblem&, int) { return 0; }

template <class Vectors>
void run_forward_channels(const Pool2dProblem& p, const MaxPool2dTensors& t, std::byte*,
                          const Parallel& parallel) {
  dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    forward_channels<typename Vectors::template For<T>, T>(p, t, parallel);
  });
}

template <class Vectors>
constexpr MaxPool2dAlgorithm forward_channels_algorithm(const char* name) {
  return {{name, "max_pool2d", "forward", Vectors::kIsa, kAllDTypes, 0.0,
           "vectors over channels, one window at a time; no workspace"},
          reject_channels,
          forward_channels_workspace,
          run_forward_channels<Vectors>};
}

}  // namespace
}  // namespace fastconv::cpu
