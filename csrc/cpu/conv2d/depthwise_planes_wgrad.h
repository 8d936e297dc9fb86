// wgrad of a depthwise convolution plane by plane, vectors along rows: both the input and
// grad_output go to scratch block by block, each is read once, and all taps of a filter are summed
// together, one vector for each.
//
// Float sums stay short: after at most kFlushTerms terms a lane goes into a double. What is summed
// in which order depends on the problem alone, never on the number of threads.
#pragma once

#include <cstddef>

#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/depthwise_scratch.h"
#include "cpu/conv2d/depthwise_unrolled.h"
#include "cpu/dtype.h"

namespace fastconv::cpu {
namespace {

constexpr int64_t kFlushTerms = 256;

// One block: grad rows lie `grad_pitch` apart, zero up to a whole vector.
template <class E>
struct TapSumsCall {
  const E* scratch;
  int64_t row_elements;
  int64_t slot_step, slot_spacing, apart;
  int64_t tap_rows, tap_cols;
  const int64_t* columns;
  const E* grad;
  int64_t grad_pitch;
  int64_t rows, cols;
  E* sums;  // tap_rows x tap_cols vectors, added to
};

// Tap rows [tap_row, tap_row + NR) and columns [tap_col, tap_col + NS) over the output rows from
// `first` on, RB at a time; returns the first row not done. Row k's tap row a reads slot
// KS * k + a in units of slot_spacing.
template <class V, int NR, int NS, int KS, int RB>
int64_t sum_taps(const TapSumsCall<typename V::Element>& call, int64_t tap_row, int64_t tap_col,
                 int64_t first, int64_t apart) {
  using Vector = typename V::Vector;
  auto* sums = call.sums + (tap_row * call.tap_cols + tap_col) * V::kLanes;
  Vector sum[NR][NS];
  unrolled<NR>([&](auto a) __attribute__((always_inline)) {
    unrolled<NS>([&](auto b) __attribute__((always_inline)) {
      sum[a][b] = V::load(sums + (a * call.tap_cols + b) * V::kLanes);
    });
  });
  int64_t columns[NS];
  unrolled<NS>([&](auto b)
                   __attribute__((always_inline)) { columns[b] = call.columns[tap_col + b]; });
  const int64_t tap_pitch = call.slot_spacing * call.row_elements;
  const int64_t grad_pitch = apart * call.grad_pitch;

  for (; first + (RB - 1) * apart < call.rows; first += RB * apart) {
    const auto* x =
        call.scratch + (first * call.slot_step + tap_row * call.slot_spacing) * call.row_elements;
    const auto* grad = call.grad + first * call.grad_pitch;
    for (int64_t col = 0; col < call.cols; col += V::kLanes) {
      Vector g[RB];
      unrolled<RB>([&](auto k)
                       __attribute__((always_inline)) { g[k] = V::load(grad + k * grad_pitch); });
      const auto* row = x;
      unrolled<(RB - 1) * KS + NR>([&](auto t) __attribute__((always_inline)) {
        unrolled<NS>([&](auto b) __attribute__((always_inline)) {
          const Vector in = V::load(row + columns[b]);
          unrolled<RB>([&](auto k) __attribute__((always_inline)) {
            constexpr int a = decltype(t)::value - KS * decltype(k)::value;
            if constexpr (a >= 0 && a < NR) sum[a][b] = V::fma(g[k], in, sum[a][b]);
          });
        });
        step_pointer(row, tap_pitch);
      });
      x += V::kLanes;
      grad += V::kLanes;
    }
  }
  unrolled<NR>([&](auto a) __attribute__((always_inline)) {
    unrolled<NS>([&](auto b) __attribute__((always_inline)) {
      V::store(sums + (a * call.tap_cols + b) * V::kLanes, sum[a][b]);
    });
  });
  return first;
}

template <class V, int NR, int NS, int KS>
void sum_all_taps(const TapSumsCall<typename V::Element>& call) {
  const int64_t apart = KS == 1 ? call.apart : 1;
  for (int64_t residue = 0; residue < apart; ++residue) {
    int64_t row = residue;
    if (row + 3 * apart < call.rows) {
      row = sum_taps<V, NR, NS, KS, 4>(call, 0, 0, row, apart);
    }
    if (row < call.rows) sum_taps<V, NR, NS, KS, 1>(call, 0, 0, row, apart);
  }
}

// One row of taps, at most four columns of it at a time.
template <class V>
void sum_tap_rows(const TapSumsCall<typename V::Element>& call) {
  for (int64_t a = 0; a < call.tap_rows; ++a) {
    int64_t b = 0;
    for (; b + 4 <= call.tap_cols; b += 4) sum_taps<V, 1, 4, 1, 1>(call, a, b, 0, 1);
    switch (call.tap_cols - b) {
      case 3:
        sum_taps<V, 1, 3, 1, 1>(call, a, b, 0, 1);
        break;
      case 2:
        sum_taps<V, 1, 2, 1, 1>(call, a, b, 0, 1);
        break;
      case 1:
        sum_taps<V, 1, 1, 1, 1>(call, a, b, 0, 1);
        break;
    }
  }
}

template <class V>
void sum_block(const TapSumsCall<typename V::Element>& call) {
  // The sums of all taps and the gradients of four rows must fit in the registers.
  const bool three = call.tap_rows == 3 && call.tap_cols == 3;
  const bool five = call.tap_rows == 5 && call.tap_cols == 5;
  if (call.apart > 0 && (call.apart == 1 || call.apart * 2 <= call.rows)) {
    if (three) return sum_all_taps<V, 3, 3, 1>(call);
    if constexpr (V::kRegisters >= 32) {
      if (five) return sum_all_taps<V, 5, 5, 1>(call);
    }
  }
  if (call.slot_step == 2 * call.slot_spacing) {
    if (three) return sum_all_taps<V, 3, 3, 2>(call);
    if constexpr (V::kRegisters >= 32) {
      if (five) return sum_all_taps<V, 5, 5, 2>(call);
    }
  }
  sum_tap_rows<V>(call);
}

template <class V, class T>
class PlaneWgrad {
 public:
  using E = typename V::Element;

  PlaneWgrad(const Conv2dProblem& problem, const Conv2dTensors& tensors)
      : problem_(problem), tensors_(tensors), axes_(fprop_axes(problem)) {
    plan_ = block_plan(axes_, V::kLanes, sizeof(E));
    rows_ = axes_.row.tap_class(0);
    cols_ = axes_.col.tap_class(0);
    multiplier_ = problem.K / problem.C;
    taps_ = problem.R * problem.S;
    grad_pitch_ = round_up(plan_.cols, V::kLanes);
    // Enough tasks for many threads where there are few channels; the same number for every pool.
    constexpr int64_t kTasks = 64;
    chunks_ = std::clamp<int64_t>(kTasks / problem.C, 1, std::max<int64_t>(problem.N, 1));
  }

  int64_t workspace(int threads) const {
    return class_tables_bytes(axes_) + partial_bytes() + threads * thread_bytes();
  }

  void run(std::byte* workspace, const Parallel& parallel) const {
    const ClassTables classes = make_class_tables(axes_, plan_.columns, workspace);
    std::byte* partials = workspace + class_tables_bytes(axes_);
    double* partial = reinterpret_cast<double*>(partials);
    std::byte* scratch = partials + partial_bytes();
    const int64_t tasks = problem_.C * chunks_;
    const int64_t parts = parallel.threads();
    parallel.for_each(parts, [&](int64_t part) {
      for (int64_t task = tasks * part / parts; task < tasks * (part + 1) / parts; ++task) {
        run_task(task / chunks_, task % chunks_, classes, partial, scratch + part * thread_bytes());
      }
    });
    parallel.for_each(problem_.K, [&](int64_t k) { write_filter(k, partial); });
  }

 private:
  int64_t partial_bytes() const {
    return round_up(problem_.K * chunks_ * taps_ * int64_t{sizeof(double)}, 64);
  }
  int64_t block_bytes() const {
    return round_up(plan_.slots * plan_.row_elements * int64_t{sizeof(E)}, 64);
  }
  int64_t grad_bytes() const { return round_up(plan_.rows * grad_pitch_ * int64_t{sizeof(E)}, 64); }
  int64_t sums_bytes() const {
    return round_up(multiplier_ * taps_ * V::kLanes * int64_t{sizeof(E)}, 64);
  }
  int64_t thread_bytes() const {
    return block_bytes() + grad_bytes() + sums_bytes() +
           fill_table_bytes<V>(axes_.col, plan_.columns);
  }

  double* partial_of(double* partial, int64_t k, int64_t chunk) const {
    return partial + (k * chunks_ + chunk) * taps_;
  }

  // The filters of one channel over one chunk of the batch.
  void run_task(int64_t c, int64_t chunk, const ClassTables& classes, double* partial,
                std::byte* scratch) const {
    E* block = reinterpret_cast<E*>(scratch);
    E* grad = reinterpret_cast<E*>(scratch + block_bytes());
    E* sums = reinterpret_cast<E*>(scratch + block_bytes() + grad_bytes());
    FillTable<V> fill =
        empty_fill_table<V>(plan_.columns, scratch + block_bytes() + grad_bytes() + sums_bytes());
    // The lanes beyond a row meet gradients of zero: they only have to be finite.
    fill_zero<V>(block, plan_.slots * plan_.row_elements);
    fill_zero<V>(sums, multiplier_ * taps_ * V::kLanes);
    for (int64_t m = 0; m < multiplier_; ++m) {
      double* to = partial_of(partial, c * multiplier_ + m, chunk);
      std::fill(to, to + taps_, 0.0);
    }

    const T* input = static_cast<const T*>(tensors_.input) + c * problem_.input.c;
    const T* output = static_cast<const T*>(tensors_.output);
    int64_t terms = 0;
    for (int64_t n = problem_.N * chunk / chunks_; n < problem_.N * (chunk + 1) / chunks_; ++n) {
      for (int64_t tile = 0; tile < plan_.row_blocks * plan_.col_blocks; ++tile) {
        const int64_t first_row = tile / plan_.col_blocks * plan_.rows;
        const int64_t first_col = tile % plan_.col_blocks * plan_.cols;
        prepare(fill, axes_.col, plan_.columns, first_col);
        const int64_t rows = std::min(plan_.rows, problem_.P - first_row);
        const int64_t cols = std::min(plan_.cols, problem_.Q - first_col);
        const int64_t lane_terms = rows * (round_up(cols, V::kLanes) / V::kLanes);
        if (terms + lane_terms > kFlushTerms) {
          flush(c, chunk, partial, sums);
          terms = 0;
        }
        terms += lane_terms;
        const RowLayout layout = row_layout(axes_.row, rows_.taps, rows_.in_spacing, rows);
        fill_block<V, T>(block, input + n * problem_.input.n, problem_.input, axes_, rows_, layout,
                         plan_, first_row, fill);
        for (int64_t m = 0; m < multiplier_; ++m) {
          const T* plane = output + n * problem_.output.n +
                           (c * multiplier_ + m) * problem_.output.c +
                           first_row * problem_.output.h + first_col * problem_.output.w;
          for (int64_t i = 0; i < rows; ++i) {
            copy_row(grad + i * grad_pitch_, plane + i * problem_.output.h, problem_.output.w,
                     cols);
          }
          sum_block<V>({block, plan_.row_elements, layout.step, layout.spacing, layout.apart(),
                        problem_.R, problem_.S, classes.cols[0].columns, grad, grad_pitch_, rows,
                        cols, sums + m * taps_ * V::kLanes});
        }
      }
    }
    flush(c, chunk, partial, sums);
  }

  // Zero up to a whole vector.
  static void copy_row(E* to, const T* from, int64_t stride, int64_t count) {
    constexpr int64_t L = V::kLanes;
    if (stride != 1) {
      V::store(to + (count - 1) / L * L, V::zero());
      for (int64_t j = 0; j < count; ++j) to[j] = Storage<T>::load(from[j * stride]);
      return;
    }
    int64_t j = 0;
    for (; j + L <= count; j += L) V::store(to + j, V::load(from + j));
    if (j < count) V::store(to + j, V::load(from + j, V::range(0, count - j)));
  }

  void flush(int64_t c, int64_t chunk, double* partial, E* sums) const {
    for (int64_t m = 0; m < multiplier_; ++m) {
      double* to = partial_of(partial, c * multiplier_ + m, chunk);
      E* from = sums + m * taps_ * V::kLanes;
      for (int64_t tap = 0; tap < taps_; ++tap) {
        to[tap] += V::sum(V::load(from + tap * V::kLanes));
        V::store(from + tap * V::kLanes, V::zero());
      }
    }
  }

  void write_filter(int64_t k, double* partial) const {
    const Strides4& s = problem_.weight;
    T* weight = static_cast<T*>(tensors_.weight) + k * s.n;
    for (int64_t tap = 0; tap < taps_; ++tap) {
      double sum = 0;
      for (int64_t chunk = 0; chunk < chunks_; ++chunk) sum += partial_of(partial, k, chunk)[tap];
      weight[tap / problem_.S * s.h + tap % problem_.S * s.w] =
          Storage<T>::store(static_cast<E>(sum));
    }
  }

  const Conv2dProblem& problem_;
  const Conv2dTensors& tensors_;
  Axes axes_;
  BlockPlan plan_;
  TapClass rows_, cols_;
  int64_t multiplier_, taps_, grad_pitch_, chunks_;
};

}  // namespace
}  // namespace fastconv::cpu
