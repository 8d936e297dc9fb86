// The gradient of max pooling where windows do not overlap: each window writes all of its cells,
// the gradient where its index names the cell and zero elsewhere. Nothing is filled beforehand or
// read back, which is most of a scatter's time where the gradient of the input exceeds the caches.
//
// An index is compared with its window's cells and never used as an address; one that names none of
// them is reported.
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

namespace fastconv::cpu {
namespace {

// The cells of one axis that an output position writes: its window's, and what lies between that
// and the next window or the end.
struct OwnedCells {
  int64_t begin, window_end, end;
};

OwnedCells owned_cells(int64_t out, int64_t outputs, int64_t extent, int64_t kernel, int64_t stride,
                       int64_t pad) {
  const int64_t start = out * stride - pad;
  return {std::max<int64_t>(start, 0), std::min(start + kernel, extent),
          out == outputs - 1 ? extent : start + stride};
}

OwnedCells owned_rows(const Pool2dProblem& p, int64_t op) {
  return owned_cells(op, p.P, p.H, p.kernel.h, p.stride.h, p.pad.h);
}

// Vectors along the row, for windows of two columns side by side and contiguous rows.
template <class V, class T>
class DisjointPairs {
  using Vector = typename V::Vector;
  using Indices = typename V::Indices;
  using Mask = typename V::Mask;
  static constexpr int64_t kLanes = V::kLanes;

 public:
  DisjointPairs(const Pool2dProblem& problem, const MaxPool2dTensors& tensors)
      : p_(problem), t_(tensors) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      minus_columns_[lane] = static_cast<typename V::Index>(-2 * lane);
    }
  }

  // Output rows counted through all planes; returns whether every index lies in its window.
  bool run(Share rows) const {
    bool in_window = true;
    int64_t op = rows.begin % p_.P, c = rows.begin / p_.P % p_.C, n = rows.begin / p_.P / p_.C;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      const int64_t output = n * p_.output.n + c * p_.output.c + op * p_.output.h;
      in_window &= run_row(op, static_cast<T*>(t_.input) + n * p_.input.n + c * p_.input.c,
                           static_cast<const T*>(t_.output) + output, t_.indices + output);
      if (++op < p_.P) continue;
      op = 0;
      if (++c < p_.C) continue;
      c = 0;
      ++n;
    }
    return in_window;
  }

 private:
  bool run_row(int64_t op, T* plane, const T* grad, const int64_t* indices) const {
    const OwnedCells rows = owned_rows(p_, op);
    const int64_t columns = p_.W, outputs = p_.Q, pitch = p_.input.h;
    const Indices minus_columns = V::load_indices(minus_columns_), minus_row = V::splat(-columns);
    const Indices none = V::splat(0), one = V::splat(1);
    T* const to = plane + rows.begin * pitch;
    bool in_window = true;
    for (int64_t q = 0; q < outputs; q += kLanes) {
      const int64_t left = columns - 2 * q;
      const Vector x = V::load_first(grad + q, outputs - q);
      // How far the index lies behind the first cell of its window in the row at hand.
      Indices behind = V::add(V::narrow_first(indices + q, outputs - q),
                              V::add(minus_columns, V::splat(-(rows.begin * columns + 2 * q))));
      Mask found = V::equal(none, one);
      for (int64_t row = 0; row < rows.end - rows.begin; ++row) {
        Vector even = V::zero(), odd = V::zero();
        if (row < rows.window_end - rows.begin) {
          const Mask is_even = V::equal(behind, none), is_odd = V::equal(behind, one);
          even = V::add_where(is_even, even, x);
          odd = V::add_where(is_odd, odd, x);
          found = V::either(found, V::either(is_even, is_odd));
          behind = V::add(behind, minus_row);
        }
        Vector a, b;
        V::merge_pairs(even, odd, a, b);
        V::store_first(to + row * pitch + 2 * q, a, left);
        if (left > kLanes) V::store_first(to + row * pitch + 2 * q + kLanes, b, left - kLanes);
      }
      // A window that hangs over the end has an even column only.
      in_window &= V::holds(found, std::min(outputs - q, left / 2));
    }
    if (2 * outputs < columns) {
      for (int64_t row = 0; row < rows.end - rows.begin; ++row) to[row * pitch + columns - 1] = T{};
    }
    if (2 * outputs > columns) in_window &= names_last_column(rows, indices[outputs - 1]);
    return in_window;
  }

  bool names_last_column(const OwnedCells& rows, int64_t index) const {
    for (int64_t row = rows.begin; row < rows.window_end; ++row) {
      if (index == row * p_.W + p_.W - 1) return true;
    }
    return false;
  }

  const Pool2dProblem& p_;
  const MaxPool2dTensors& t_;
  typename V::Index minus_columns_[kLanes];
};

// Vectors over contiguous channels, for windows of any size.
template <class V, class T>
class DisjointChannels {
  using Vector = typename V::Vector;
  using Indices = typename V::Indices;
  using Mask = typename V::Mask;
  static constexpr int64_t kLanes = V::kLanes;

 public:
  DisjointChannels(const Pool2dProblem& problem, const MaxPool2dTensors& tensors)
      : p_(problem), t_(tensors) {}

  // Output rows counted through all images; returns whether every index lies in its window.
  bool run(Share rows) const {
    bool in_window = true;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      const int64_t n = row / p_.P, op = row % p_.P;
      const OwnedCells h = owned_rows(p_, op);
      for (int64_t oq = 0; oq < p_.Q; ++oq) {
        const OwnedCells w = owned_cells(oq, p_.Q, p_.W, p_.kernel.w, p_.stride.w, p_.pad.w);
        const int64_t output = n * p_.output.n + op * p_.output.h + oq * p_.output.w;
        T* const to = static_cast<T*>(t_.input) + n * p_.input.n;
        in_window &=
            write_window(h, w, static_cast<const T*>(t_.output) + output, t_.indices + output, to);
        zero_cells({h.begin, h.window_end}, {w.window_end, w.end}, to);
        zero_cells({h.window_end, h.end}, {w.begin, w.end}, to);
      }
    }
    return in_window;
  }

 private:
  bool write_window(const OwnedCells& h, const OwnedCells& w, const T* grad, const int64_t* indices,
                    T* image) const {
    const int64_t channels = p_.C;
    bool in_window = true;
    for (int64_t c = 0; c < channels; c += kLanes) {
      const int64_t left = channels - c;
      const Indices index = V::narrow_first(indices + c, left);
      const Vector x = V::load_first(grad + c, left);
      Mask found = V::equal(V::splat(0), V::splat(1));
      for (int64_t ih = h.begin; ih < h.window_end; ++ih) {
        T* to = image + ih * p_.input.h + w.begin * p_.input.w + c;
        for (int64_t iw = w.begin; iw < w.window_end; ++iw, to += p_.input.w) {
          const Mask here = V::equal(index, V::splat(ih * p_.W + iw));
          V::store_first(to, V::add_where(here, V::zero(), x), left);
          found = V::either(found, here);
        }
      }
      in_window &= V::holds(found, left);
    }
    return in_window;
  }

  void zero_cells(Share rows, Share columns, T* image) const {
    for (int64_t ih = rows.begin; ih < rows.end; ++ih) {
      for (int64_t iw = columns.begin; iw < columns.end; ++iw) {
        std::fill_n(image + ih * p_.input.h + iw * p_.input.w, p_.C, T{});
      }
    }
  }

  const Pool2dProblem& p_;
  const MaxPool2dTensors& t_;
};

template <class Vectors, template <class, class> class Disjoint>
void run_backward_disjoint(const Pool2dProblem& p, const MaxPool2dTensors& t, int64_t output_rows,
                           const Parallel& parallel) {
  const int64_t tasks = task_count(p.N * p.C * p.H * p.W, parallel.threads());
  dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Disjoint<typename Vectors::template For<T>, T> disjoint(p, t);
    parallel.for_each(tasks, [&](int64_t task) {
      if (!disjoint.run(share_of(output_rows, task, tasks))) {
        std::atomic_ref(*t.index_out_of_range).store(true);
      }
    });
  });
}

const char* reject_disjoint(const Pool2dProblem& p) {
  if (const char* reason = reject_unknown_window(p)) return reason;
  return p.kernel.h <= p.stride.h && p.kernel.w <= p.stride.w ? nullptr : "windows overlap";
}

const char* reject_disjoint_pairs(const Pool2dProblem& p) {
  if (const char* reason = reject_disjoint(p)) return reason;
  if (p.kernel.w != 2 || p.stride.w != 2 || p.pad.w != 0) return "columns are not paired";
  return p.input.w == 1 && p.output.w == 1 ? nullptr : "rows are not contiguous";
}

const char* reject_disjoint_channels(const Pool2dProblem& p) {
  if (const char* reason = reject_disjoint(p)) return reason;
  return p.input.c == 1 && p.output.c == 1 ? nullptr : "channels are not contiguous";
}

int64_t backward_disjoint_workspace(const Pool2dProblem&, int) { return 0; }

template <class Vectors>
constexpr MaxPool2dAlgorithm backward_disjoint_pairs_algorithm(const char* name) {
  return {
      {name, "max_pool2d", "backward", Vectors::kIsa, kAllDTypes, 0.0,
       "windows that do not overlap write all their cells, vectors along rows, pairs of "
       "columns; needs the window that made the indices; no workspace"},
      reject_disjoint_pairs,
      backward_disjoint_workspace,
      [](const Pool2dProblem& p, const MaxPool2dTensors& t, std::byte*, const Parallel& parallel) {
        run_backward_disjoint<Vectors, DisjointPairs>(p, t, p.N * p.C * p.P, parallel);
      },
      backward_disjoint_pairs_cost<Vectors>};
}

template <class Vectors>
constexpr MaxPool2dAlgorithm backward_disjoint_channels_algorithm(const char* name) {
  return {
      {name, "max_pool2d", "backward", Vectors::kIsa, kAllDTypes, 0.0,
       "windows that do not overlap write all their cells, vectors over channels; needs the "
       "window that made the indices; no workspace"},
      reject_disjoint_channels,
      backward_disjoint_workspace,
      [](const Pool2dProblem& p, const MaxPool2dTensors& t, std::byte*, const Parallel& parallel) {
        run_backward_disjoint<Vectors, DisjointChannels>(p, t, p.N * p.P, parallel);
      },
      backward_disjoint_channels_cost<Vectors>};
}

}  // namespace
}  // namespace fastconv::cpu
