// The gradient of max pooling as a gather with vectors over channels, for channels_last tensors:
// each input cell adds up, in the order of the output, the gradients of the windows over it whose
// index names it. The gradient of the input is written once and never read or filled beforehand.
//
// Indices are narrowed to lanes as wide as the sums, and checked, once for each output row.
//
// Include this below a `#pragma GCC target`, with its own includes already included above it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "cpu/dispatch_dtype.h"
#include "cpu/max_pool2d/algorithms.h"
#include "cpu/max_pool2d/backward_cost.h"
#include "cpu/max_pool2d/known_window.h"
#include "cpu/max_pool2d/tasks.h"
#include "cpu/max_pool2d/window.h"
#include "cpu/max_pool2d/windows_over.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {
namespace {

template <class V>
struct ChannelGatherBuffers {
  using Index = typename V::Index;

  ChannelGatherBuffers(const Pool2dProblem& p, Carver& carver)
      : pitch(round_up(p.C, V::kLanes)),
        kept(kept_output_rows(p, 0)),
        indices(carver.take<Index>(kept * p.Q * pitch)),
        rows(carver.take<int64_t>(kept)),
        over_columns(carver.take<Share>(p.W)) {}

  int64_t pitch;        // from one output column to the next
  int64_t kept;         // output rows, a power of two
  Index* indices;       // of the kept rows
  int64_t* rows;        // which output row, counted through all images, each place holds, or -1
  Share* over_columns;  // the output columns whose window holds each input column
};

template <class V, class T>
class ChannelGather {
  using Vector = typename V::Vector;
  using Indices = typename V::Indices;
  using Index = typename V::Index;
  static constexpr int64_t kLanes = V::kLanes;
  // Vectors of one cell at a time: enough to pay for walking the windows over it, few enough for
  // registers.
  static constexpr int kBlock = 4;

 public:
  ChannelGather(const Pool2dProblem& problem, const MaxPool2dTensors& tensors, std::byte* workspace)
      : p_(problem), t_(tensors), carver_(workspace), b_(problem, carver_) {
    std::fill_n(b_.rows, b_.kept, int64_t{-1});
    for (int64_t iw = 0; iw < p_.W; ++iw) b_.over_columns[iw] = window_columns_over(p_, iw);
  }

  // Input rows counted through all images; returns whether every index lies in its window.
  bool run(Share rows) {
    bool in_window = true;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      const int64_t n = row / p_.H, ih = row % p_.H;
      const Share over = window_rows_over(p_, ih);
      for (int64_t op = over.begin; op < over.end; ++op) {
        int64_t& kept = b_.rows[op & (b_.kept - 1)];
        if (kept == n * p_.P + op) continue;
        kept = n * p_.P + op;
        in_window &= keep(n, op);
      }
      for (int64_t iw = 0; iw < p_.W; ++iw) gather_cell(n, ih, over, iw);
    }
    return in_window;
  }

 private:
  Index* kept_row(int64_t op) const { return b_.indices + (op & (b_.kept - 1)) * p_.Q * b_.pitch; }

  bool keep(int64_t n, int64_t op) const {
    const WindowAxis h = window_rows(p_, op);
    const int64_t* row = t_.indices + n * p_.output.n + op * p_.output.h;
    const int64_t channels = p_.C, pitch = b_.pitch;
    const Indices minus_row = V::splat(-p_.W);
    Index* to = kept_row(op);
    bool in_window = true;
    for (int64_t oq = 0; oq < p_.Q; ++oq, row += p_.output.w, to += pitch) {
      const WindowAxis w = window_columns(p_, oq);
      const Indices minus_first = V::splat(-(h.first * p_.W + w.first));
      const Indices length = V::splat(std::max<int64_t>(w.end - w.first, 0));
      for (int64_t c = 0; c < channels; c += kLanes) {
        const Indices index = V::narrow_first(row + c, channels - c);
        V::store_indices(to + c, index);
        in_window &= are_in_window<V>(V::add(index, minus_first), length, h.end - h.first,
                                      minus_row, channels - c);
      }
    }
    return in_window;
  }

  void gather_cell(int64_t n, int64_t ih, Share rows, int64_t iw) const {
    T* to = static_cast<T*>(t_.input) + n * p_.input.n + ih * p_.input.h + iw * p_.input.w;
    const T* grad = static_cast<const T*>(t_.output) + n * p_.output.n;
    const Indices cell = V::splat(ih * p_.W + iw);
    const int64_t channels = p_.C;
    int64_t c = 0;
    for (; c + kBlock * kLanes <= channels; c += kBlock * kLanes) {
      gather_channels<kBlock>(rows, b_.over_columns[iw], cell, grad, c, kBlock * kLanes, to + c);
    }
    for (; c < channels; c += kLanes) {
      gather_channels<1>(rows, b_.over_columns[iw], cell, grad, c, channels - c, to + c);
    }
  }

  template <int kVectors>
  void gather_channels(Share rows, Share columns, Indices cell, const T* grad, int64_t c,
                       int64_t channels, T* to) const {
    Vector sums[kVectors];
    for (int v = 0; v < kVectors; ++v) sums[v] = V::zero();
    for (int64_t op = rows.begin; op < rows.end; ++op) {
      const Index* indices = kept_row(op) + columns.begin * b_.pitch + c;
      const T* grads = grad + op * p_.output.h + columns.begin * p_.output.w + c;
      for (int64_t left = columns.end - columns.begin; left > 0; --left) {
        for (int v = 0; v < kVectors; ++v) {
          sums[v] = V::add_where(V::equal(V::load_indices(indices + v * kLanes), cell), sums[v],
                                 V::load_first(grads + v * kLanes, channels - v * kLanes));
        }
        indices += b_.pitch;
        grads += p_.output.w;
      }
    }
    for (int v = 0; v < kVectors; ++v) {
      V::store_first(to + v * kLanes, sums[v], channels - v * kLanes);
    }
  }

  const Pool2dProblem& p_;
  const MaxPool2dTensors& t_;
  Carver carver_;
  const ChannelGatherBuffers<V> b_;
};

template <class Vectors>
int64_t gather_channels_bytes(const Pool2dProblem& p) {
  return dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    Carver counter(nullptr);
    ChannelGatherBuffers<typename Vectors::template For<T>>(p, counter);
    return counter.bytes();
  });
}

template <class Vectors>
int64_t backward_gather_channels_workspace(const Pool2dProblem& p, int threads) {
  return task_count(p.N * p.C * p.H * p.W, threads) * gather_channels_bytes<Vectors>(p);
}

template <class Vectors>
void run_backward_gather_channels(const Pool2dProblem& p, const MaxPool2dTensors& t,
                                  std::byte* workspace, const Parallel& parallel) {
  const int64_t tasks = task_count(p.N * p.C * p.H * p.W, parallel.threads());
  const int64_t bytes = gather_channels_bytes<Vectors>(p);
  dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using V = typename Vectors::template For<T>;
    parallel.for_each(tasks, [&](int64_t task) {
      ChannelGather<V, T> gather(p, t, workspace + task * bytes);
      if (!gather.run(share_of(p.N * p.H, task, tasks))) {
        std::atomic_ref(*t.index_out_of_range).store(true);
      }
    });
  });
}

template <class Vectors>
const char* reject_gather_channels(const Pool2dProblem& p) {
  constexpr int64_t kMostBytes = 1 << 26;
  if (const char* reason = reject_unknown_window(p)) return reason;
  if (p.input.c != 1 || p.output.c != 1) return "channels are not contiguous";
  if (gather_channels_bytes<Vectors>(p) > kMostBytes) {
    return "rows this long would take more than 64 MiB of workspace for each thread";
  }
  return nullptr;
}

template <class Vectors>
constexpr MaxPool2dAlgorithm backward_gather_channels_algorithm(const char* name) {
  return {{name, "max_pool2d", "backward", Vectors::kIsa, kAllDTypes, 0.0,
           "each cell asks the windows over it, vectors over channels; needs the window that made "
           "the indices; workspace: the narrowed indices of the output rows over one input row, "
           "for each thread"},
          reject_gather_channels<Vectors>,
          backward_gather_channels_workspace<Vectors>,
          run_backward_gather_channels<Vectors>,
          backward_gather_channels_cost<Vectors>};
}

}  // namespace
}  // namespace fastconv::cpu
