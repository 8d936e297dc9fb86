// Forward pooling with vectors along the output row, for tensors whose output rows are contiguous
// (NCHW and the like).
//
// A window is reduced in two steps, along the row and then across the rows, in that order because
// the first of equal cells, counted row by row, then wins as it does in the definition:
// - each row that some window needs is staged once: widened to float, padded with -inf, and dealt
//   out so that every tap of the window is a contiguous load (even and odd columns apart at stride
//   2, one copy for each tap at larger strides), then reduced to its row maxima;
// - the maxima live in a ring of as many rows as a window spans, so that overlapping windows share
//   them; an output row is the maximum over rows of the ring.
// Where output rows are shorter than half a vector, several planes are pooled side by side as one
// long row.
//
// Indices travel in lanes as wide as the values. 32-bit ones are exact modulo 2^32, and what is
// stored is their distance from the window's first row, so that planes may be larger than 2^31.
//
// Include this below a `#pragma GCC target`, with its own includes already included above it.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "cpu/dispatch_dtype.h"
#include "cpu/max_pool2d/algorithms.h"
#include "cpu/max_pool2d/tasks.h"
#include "cpu/max_pool2d/vector_order.h"
#include "cpu/max_pool2d/window.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {
namespace {

// The lengths of what a task keeps, in elements.
template <class V>
struct RowLayout {
  explicit RowLayout(const Pool2dProblem& p) {
    constexpr int64_t kLine = kCacheLine / static_cast<int64_t>(sizeof(typename V::Element));
    const bool by_phase = p.stride.w <= 2;
    const int64_t reach = by_phase ? (p.kernel.w - 1) * p.dilation.w / p.stride.w : 0;
    const int64_t filled = by_phase ? divide_up(p.W + p.pad.w, p.stride.w) : p.Q;
    plane_pitch = std::max(p.Q + reach, filled);
    planes = 1;
    if (2 * p.Q <= V::kLanes) {
      planes = std::clamp<int64_t>(4 * V::kLanes / plane_pitch, 1, std::max<int64_t>(p.N * p.C, 1));
    }
    pitch = round_up((planes - 1) * plane_pitch + p.Q, kLine);
    // Whole vectors are stored, so that a copy needs room for one vector beyond its last column.
    copy_pitch =
        round_up(std::max(pitch + reach, (planes - 1) * plane_pitch + filled + V::kLanes), kLine);
    copies = by_phase ? p.stride.w : p.kernel.w;
    const int64_t span = std::min((p.kernel.h - 1) * p.dilation.h + 1, p.H);
    rows = std::min(p.kernel.h, p.H);
    ring = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(span)));
  }

  int64_t planes;       // side by side in one row
  int64_t plane_pitch;  // from a plane's first output column to the next plane's
  int64_t pitch;        // of a row of maxima
  int64_t copy_pitch;   // of a phase or a tap's copy of the staged row
  int64_t copies;
  int64_t rows;  // of the plane that one window can have
  int64_t ring;  // rows of maxima, a power of two
};

template <class V, class T>
struct RowBuffers {
  using Element = typename V::Element;
  using Index = typename V::Index;

  RowBuffers(const Pool2dProblem& p, const RowLayout<V>& layout, Carver& carver)
      : staged(carver.take<Element>(layout.copies * layout.copy_pitch)),
        maxima(carver.take<Element>(layout.ring * layout.pitch)),
        indices(carver.take<Index>(layout.ring * layout.pitch)),
        rows_in_ring(carver.take<int64_t>(layout.ring)),
        window_rows(carver.take<int64_t>(layout.rows)),
        first_tap(carver.take<Index>(layout.pitch)),
        first_cell(carver.take<Index>(layout.pitch)),
        taps(carver.take<int64_t>(p.kernel.w)),
        tap_columns(carver.take<Share>(p.kernel.w)),
        plane_inputs(carver.take<int64_t>(layout.planes)),
        plane_outputs(carver.take<int64_t>(layout.planes)),
        row_values(carver.take<T>(layout.pitch)),
        row_indices(carver.take<int64_t>(layout.pitch)) {}

  Element* staged;
  Element* maxima;        // the ring
  Index* indices;         // of the ring's maxima, into the plane
  int64_t* rows_in_ring;  // which row of the plane each slot of the ring holds, or -1
  int64_t* window_rows;   // where in the ring the rows of the present window start
  Index* first_tap;       // for each output column, the column of tap 0, maybe in the padding
  Index* first_cell;      // and how far behind it the first cell inside the plane lies
  int64_t* taps;          // where in the staged row each tap of output column 0 lies
  Share* tap_columns;     // the output columns that each tap has inside the plane
  int64_t* plane_inputs;  // where the planes of the present group start
  int64_t* plane_outputs;
  T* row_values;  // a finished output row on its way to several planes
  int64_t* row_indices;
};

template <class V, class T, bool kWithIndices>
class RowPool {
  using Element = typename V::Element;
  using Index = typename V::Index;
  using Vector = typename V::Vector;
  using Indices = typename V::Indices;
  static_assert(sizeof(Element) == sizeof(Index));
  static constexpr int64_t kLanes = V::kLanes;

 public:
  RowPool(const Pool2dProblem& problem, const MaxPool2dTensors& tensors, const RowLayout<V>& layout,
          std::byte* workspace)
      : p_(problem),
        t_(tensors),
        layout_(layout),
        carver_(workspace),
        b_(problem, layout, carver_) {
    std::fill_n(b_.staged, layout_.copies * layout_.copy_pitch,
                -std::numeric_limits<Element>::infinity());
    for (int64_t i = 0; i < layout_.pitch; ++i) {
      const int64_t q = std::min(i % layout_.plane_pitch, p_.Q - 1);
      const int64_t start = q * p_.stride.w - p_.pad.w;
      b_.first_tap[i] = static_cast<Index>(start);
      b_.first_cell[i] = static_cast<Index>(window_columns(p_, q).fallback - start);
    }
    for (int64_t s = 0; s < p_.kernel.w; ++s) {
      const int64_t column = s * p_.dilation.w;
      const int64_t left = std::max<int64_t>(p_.pad.w - column, 0);
      const int64_t right = std::max<int64_t>(p_.W + p_.pad.w - column, 0);
      b_.taps[s] = p_.stride.w > 2 ? s * layout_.copy_pitch : place_of_column(column);
      b_.tap_columns[s] = {std::min(divide_up(left, p_.stride.w), p_.Q),
                           std::min(divide_up(right, p_.stride.w), p_.Q)};
    }
  }

  // Output rows counted through all groups of planes.
  void run(Share rows) {
    int64_t group = rows.begin / p_.P;
    int64_t op = rows.begin - group * p_.P;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      if (row == rows.begin || op == 0) begin_group(group);
      pool_row(op);
      if (++op == p_.P) {
        op = 0;
        ++group;
      }
    }
  }

 private:
  // Where a staged row split by phase keeps a column, counted from the start of the padding.
  int64_t place_of_column(int64_t column) const {
    return p_.stride.w == 1 ? column : column % 2 * layout_.copy_pitch + column / 2;
  }

  void begin_group(int64_t group) {
    const int64_t first_plane = group * layout_.planes;
    planes_ = std::min(layout_.planes, p_.N * p_.C - first_plane);
    columns_ = (planes_ - 1) * layout_.plane_pitch + p_.Q;
    for (int64_t i = 0; i < planes_; ++i) {
      const int64_t n = (first_plane + i) / p_.C, c = (first_plane + i) % p_.C;
      b_.plane_inputs[i] = n * p_.input.n + c * p_.input.c;
      b_.plane_outputs[i] = n * p_.output.n + c * p_.output.c;
    }
    std::fill_n(b_.rows_in_ring, layout_.ring, int64_t{-1});
  }

  void pool_row(int64_t op) {
    const WindowAxis h = window_rows(p_, op);
    int64_t count = 0;
    for (int64_t ih = h.first; ih < h.end; ih += h.step) {
      const int64_t slot = ih & (layout_.ring - 1);
      b_.window_rows[count++] = slot * layout_.pitch;
      if (b_.rows_in_ring[slot] == ih) continue;
      b_.rows_in_ring[slot] = ih;
      for (int64_t plane = 0; plane < planes_; ++plane) {
        const int64_t at = b_.plane_inputs[plane] + ih * p_.input.h;
        stage(static_cast<const T*>(t_.input) + at, b_.staged + plane * layout_.plane_pitch);
      }
      reduce_staged(ih, slot);
    }
    T* output = static_cast<T*>(t_.output) + op * p_.output.h;
    int64_t* indices = kWithIndices ? t_.indices + op * p_.output.h : nullptr;
    if (planes_ == 1 && count > 0) {
      const int64_t at = b_.plane_outputs[0];
      reduce_window(count, h.fallback, output + at, indices + at);
      return;
    }
    if (count > 0) {
      reduce_window(count, h.fallback, b_.row_values, b_.row_indices);
    } else {
      fill_padding(h.fallback);
    }
    for (int64_t plane = 0; plane < planes_; ++plane) {
      const int64_t from = plane * layout_.plane_pitch, to = b_.plane_outputs[plane];
      std::copy_n(b_.row_values + from, p_.Q, output + to);
      if constexpr (kWithIndices) std::copy_n(b_.row_indices + from, p_.Q, indices + to);
    }
  }

  // One row of one plane to its place in the staged row.
  void stage(const T* row, Element* to) {
    if (p_.input.w == 1 && p_.stride.w == 1) {
      stage_contiguous(row, to);
    } else if (p_.input.w == 1 && p_.stride.w == 2) {
      stage_by_phase(row, to);
    } else if (p_.stride.w <= 2) {
      for (int64_t w = 0; w < p_.W; ++w) {
        to[place_of_column(w + p_.pad.w)] = Storage<T>::load(row[w * p_.input.w]);
      }
    } else {
      stage_by_tap(row, to);
    }
  }

  void stage_contiguous(const T* row, Element* to) {
    const int64_t columns = p_.W, pad = p_.pad.w;
    for (int64_t w = 0; w < columns; w += kLanes) {
      V::store(to + pad + w, V::load_first(row + w, columns - w));
    }
  }

  void stage_by_phase(const T* row, Element* to) {
    Element* even = to + place_of_column(p_.pad.w);
    Element* odd = to + place_of_column(p_.pad.w + 1);
    const int64_t columns = p_.W;
    for (int64_t w = 0; w < columns; w += 2 * kLanes) {
      const Vector a = V::load_first(row + w, columns - w);
      const Vector b = columns - w > kLanes ? V::load_first(row + w + kLanes, columns - w - kLanes)
                                            : V::lowest();
      Vector evens, odds;
      V::split_pairs(a, b, evens, odds);
      V::store(even + w / 2, evens);
      V::store(odd + w / 2, odds);
    }
  }

  void stage_by_tap(const T* row, Element* to) {
    const int64_t stride = p_.stride.w * p_.input.w;
    for (int64_t s = 0; s < p_.kernel.w; ++s) {
      Element* copy = to + s * layout_.copy_pitch;
      const T* from = row + (s * p_.dilation.w - p_.pad.w) * p_.input.w;
      const Share inside = b_.tap_columns[s];
      for (int64_t q = inside.begin; q < inside.end; ++q) {
        copy[q] = Storage<T>::load(from[q * stride]);
      }
    }
  }

  void reduce_staged(int64_t ih, int64_t slot) {
    switch (p_.kernel.w) {
      case 2:
        return reduce_taps<2>(ih, slot);
      case 3:
        return reduce_taps<3>(ih, slot);
      case 5:
        return reduce_taps<5>(ih, slot);
      default:
        return reduce_taps<0>(ih, slot);
    }
  }

  // kTaps is the kernel's width where it is known at compile time. Members are read into locals,
  // here and below, because a store of a vector might for all the compiler knows change them.
  template <int kTaps>
  void reduce_taps(int64_t ih, int64_t slot) {
    Element* maxima = b_.maxima + slot * layout_.pitch;
    Index* indices = b_.indices + slot * layout_.pitch;
    const Index* first_tap = b_.first_tap;
    const Index* first_cell = b_.first_cell;
    const Element* staged = b_.staged;
    const int64_t* taps = b_.taps;
    const int64_t columns = columns_, dilation = p_.dilation.w;
    const int64_t tap_count = kTaps == 0 ? p_.kernel.w : kTaps;
    const Indices row_start = V::splat(ih * p_.W);
    for (int64_t q = 0; q < columns; q += kLanes) {
      Vector best = V::load(staged + taps[0] + q);
      Indices column = V::load_indices(first_cell + q);
      for (int64_t s = 1; s < tap_count; ++s) {
        take_larger<V, kWithIndices>(V::load(staged + taps[s] + q), V::splat(s * dilation), best,
                                     column);
      }
      V::store(maxima + q, best);
      if constexpr (kWithIndices) {
        const Indices start = V::add(row_start, V::load_indices(first_tap + q));
        V::store_indices(indices + q, V::add(start, column));
      }
    }
  }

  void reduce_window(int64_t row_count, int64_t first_row, T* output, int64_t* output_indices) {
    const Element* maxima = b_.maxima;
    const Index* indices = b_.indices;
    const int64_t* rows = b_.window_rows;
    const int64_t columns = columns_, base = first_row * p_.W;
    for (int64_t q = 0; q < columns; q += kLanes) {
      Vector best = V::load(maxima + rows[0] + q);
      Indices index = V::load_indices(indices + rows[0] + q);
      for (int64_t r = 1; r < row_count; ++r) {
        take_larger<V, kWithIndices>(V::load(maxima + rows[r] + q),
                                     V::load_indices(indices + rows[r] + q), best, index);
      }
      V::store_first(output + q, best, columns - q);
      if constexpr (kWithIndices) {
        V::store_wide_first(output_indices + q, index, base, columns - q);
      }
    }
  }

  // A row of windows without a row inside the plane.
  void fill_padding(int64_t row) {
    for (int64_t i = 0; i < columns_; ++i) {
      b_.row_values[i] = Storage<T>::store(-std::numeric_limits<Element>::infinity());
      b_.row_indices[i] = row * p_.W + b_.first_tap[i] + b_.first_cell[i];
    }
  }

  const Pool2dProblem& p_;
  const MaxPool2dTensors& t_;
  const RowLayout<V>& layout_;
  Carver carver_;
  const RowBuffers<V, T> b_;
  // How many planes the present group has, and how many columns their rows side by side.
  int64_t planes_ = 0, columns_ = 0;
};

template <class V, class T>
int64_t forward_rows_bytes(const Pool2dProblem& p) {
  Carver counter(nullptr);
  RowBuffers<V, T>(p, RowLayout<V>(p), counter);
  return counter.bytes();
}

template <class V, class T>
void forward_rows(const Pool2dProblem& p, const MaxPool2dTensors& t, std::byte* workspace,
                  const Parallel& parallel) {
  if (p.N * p.C * p.P * p.Q == 0) return;
  const RowLayout<V> layout(p);
  const int64_t rows = divide_up(p.N * p.C, layout.planes) * p.P;
  const int64_t tasks = task_count(p.N * p.C * p.H * p.W, parallel.threads());
  const int64_t bytes = forward_rows_bytes<V, T>(p);
  parallel.for_each(tasks, [&](int64_t task) {
    const Share share = share_of(rows, task, tasks);
    std::byte* own = workspace + task * bytes;
    if (t.indices != nullptr) {
      RowPool<V, T, true>(p, t, layout, own).run(share);
    } else {
      RowPool<V, T, false>(p, t, layout, own).run(share);
    }
  });
}

template <class Vectors>
int64_t forward_rows_bytes(const Pool2dProblem& p) {
  return dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return forward_rows_bytes<typename Vectors::template For<T>, T>(p);
  });
}

// A kernel may be as wide as its padding lets it be, wider than any plane.
template <class Vectors>
const char* reject_rows(const Pool2dProblem& p) {
  constexpr int64_t kMostTaps = 1 << 16, kMostBytes = 1 << 26;
  if (p.output.w != 1) return "output rows are not contiguous";
  if (p.kernel.w > kMostTaps || forward_rows_bytes<Vectors>(p) > kMostBytes) {
    return "rows this wide would take more than 64 MiB of workspace for each thread";
  }
  return reject_wide_windows(p);
}

template <class Vectors>
int64_t forward_rows_workspace(const Pool2dProblem& p, int threads) {
  return task_count(p.N * p.C * p.H * p.W, threads) * forward_rows_bytes<Vectors>(p);
}

template <class Vectors>
void run_forward_rows(const Pool2dProblem& p, const MaxPool2dTensors& t, std::byte* workspace,
                      const Parallel& parallel) {
  dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    forward_rows<typename Vectors::template For<T>, T>(p, t, workspace, parallel);
  });
}

template <class Vectors>
constexpr MaxPool2dAlgorithm forward_rows_algorithm(const char* name) {
  return {{name, "max_pool2d", "forward", Vectors::kIsa, kAllDTypes, 0.0,
           "vectors along the output row, rows before columns, row maxima shared between windows; "
           "workspace: the row maxima that a window spans, for each thread"},
          reject_rows<Vectors>,
          forward_rows_workspace<Vectors>,
          run_forward_rows<Vectors>};
}

}  // namespace
}  // namespace fastconv::cpu
