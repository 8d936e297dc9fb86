// wgrad of a depthwise convolution pixel by pixel, vectors across channels: the way of
// channels_last with one filter per channel. For a vector of channels the sums of all taps stay in
// registers while a block of at most kBlockPixels pixels goes by; then they are added to sums in
// double.
//
// What is summed in which order depends on the problem alone, never on the number of threads.
#pragma once

#include <cstddef>

#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/depthwise_geometry.h"
#include "cpu/conv2d/depthwise_unrolled.h"
#include "cpu/dtype.h"

namespace fastconv::cpu {
namespace {

constexpr int64_t kBlockPixels = 256;
constexpr int kGradCols = 4;

// A block for one vector of channels. Pixels come as pointers, those that do not exist as pointers
// to zeros; `channel` is added to each.
template <class T>
struct PixelSumsCall {
  const T* const* inputs;
  int64_t row_elements;
  int64_t slot_step, slot_spacing;  // output row i's tap row a reads slot i * step + a * spacing
  const int64_t* columns;           // where in a row of inputs the pixels of a tap begin
  const T* const* grads;            // rows of grad_pitch, a multiple of kGradCols
  int64_t grad_pitch;
  int64_t rows;
  int64_t channel;
  int64_t tap_cols;
  double* sums;  // tap_rows x tap_cols, sums_pitch apart, added to
  int64_t sums_pitch;
};

// Tap rows [tap_row, tap_row + NR) and columns [tap_col, tap_col + NS). kShared: neighbouring taps
// read neighbouring pixels, so that each is loaded once for all taps and gradients that meet in it.
template <class V, class T, int NR, int NS, bool kShared>
void sum_pixels(const PixelSumsCall<T>& call, int64_t tap_row, int64_t tap_col) {
  using Vector = typename V::Vector;
  Vector sum[NR][NS];
  unrolled<NR>([&](auto a) __attribute__((always_inline)) {
    unrolled<NS>([&](auto b) __attribute__((always_inline)) { sum[a][b] = V::zero(); });
  });
  const int64_t c = call.channel, tap_pitch = call.slot_spacing * call.row_elements;
  int64_t columns[NS];
  unrolled<NS>([&](auto b)
                   __attribute__((always_inline)) { columns[b] = call.columns[tap_col + b]; });
  for (int64_t i = 0; i < call.rows; ++i) {
    const T* const* in =
        call.inputs + (i * call.slot_step + tap_row * call.slot_spacing) * call.row_elements;
    const T* const* grad = call.grads + i * call.grad_pitch;
    for (int64_t j = 0; j < call.grad_pitch; j += kGradCols) {
      Vector g[kGradCols];
      unrolled<kGradCols>([&](auto l)
                              __attribute__((always_inline)) { g[l] = V::load(grad[j + l] + c); });
      unrolled<NR>([&](auto a) __attribute__((always_inline)) {
        const T* const* row = in + a * tap_pitch + j;
        if constexpr (kShared) {
          unrolled<NS + kGradCols - 1>([&](auto u) __attribute__((always_inline)) {
            const Vector x = V::load(row[columns[0] + u] + c);
            unrolled<NS>([&](auto b) __attribute__((always_inline)) {
              constexpr int l = decltype(u)::value - decltype(b)::value;
              if constexpr (l >= 0 && l < kGradCols) sum[a][b] = V::fma(g[l], x, sum[a][b]);
            });
          });
        } else {
          unrolled<NS>([&](auto b) __attribute__((always_inline)) {
            unrolled<kGradCols>([&](auto l) __attribute__((always_inline)) {
              sum[a][b] = V::fma(g[l], V::load(row[columns[b] + l] + c), sum[a][b]);
            });
          });
        }
      });
    }
  }
  unrolled<NR>([&](auto a) __attribute__((always_inline)) {
    unrolled<NS>([&](auto b) __attribute__((always_inline)) {
      const int64_t tap = (tap_row + a) * call.tap_cols + tap_col + b;
      V::add_to(call.sums + tap * call.sums_pitch, sum[a][b]);
    });
  });
}

template <class V, class T>
void sum_pixel_block(const PixelSumsCall<T>& call, int64_t tap_rows, bool neighbours) {
  const bool three = tap_rows == 3 && call.tap_cols == 3;
  const bool five = tap_rows == 5 && call.tap_cols == 5;
  if (three) {
    return neighbours ? sum_pixels<V, T, 3, 3, true>(call, 0, 0)
                      : sum_pixels<V, T, 3, 3, false>(call, 0, 0);
  }
  if constexpr (V::kRegisters >= 32) {
    if (five) {
      return neighbours ? sum_pixels<V, T, 5, 5, true>(call, 0, 0)
                        : sum_pixels<V, T, 5, 5, false>(call, 0, 0);
    }
  }
  for (int64_t a = 0; a < tap_rows; ++a) {
    int64_t b = 0;
    for (; b + 4 <= call.tap_cols; b += 4) sum_pixels<V, T, 1, 4, false>(call, a, b);
    for (; b < call.tap_cols; ++b) sum_pixels<V, T, 1, 1, false>(call, a, b);
  }
}

template <class V, class T>
class PixelWgrad {
 public:
  using E = typename V::Element;

  static bool fits(const Conv2dProblem& p) {
    return p.K == p.C && p.C >= V::kLanes && p.input.c == 1 && p.output.c == 1;
  }

  PixelWgrad(const Conv2dProblem& problem, const Conv2dTensors& tensors)
      : problem_(problem), tensors_(tensors), axes_(fprop_axes(problem)) {
    taps_ = problem.R * problem.S;
    row_taps_ = axes_.row.tap_class(0);
    cols_ = std::clamp<int64_t>(problem.Q, 1, kBlockPixels);
    rows_ = std::clamp<int64_t>(kBlockPixels / cols_, 1, std::max<int64_t>(problem.P, 1));
    columns_ = column_layout(axes_.col, cols_, kGradCols);
    row_elements_ = columns_.arrays * columns_.pitch;
    slots_ = row_layout(axes_.row, problem.R, problem.dilation.h, rows_).slots;
    row_blocks_ = (problem.P + rows_ - 1) / rows_;
    col_blocks_ = (problem.Q + cols_ - 1) / cols_;
    vectors_ = (problem.C + V::kLanes - 1) / V::kLanes;
    groups_ = (vectors_ + kGroupVectors - 1) / kGroupVectors;
    // Enough tasks for many threads where there are few channels; the same number for every pool.
    constexpr int64_t kTasks = 64;
    const int64_t blocks = problem.N * row_blocks_ * col_blocks_;
    chunks_ = std::clamp<int64_t>(kTasks / groups_, 1, std::max<int64_t>(blocks, 1));
  }

  int64_t workspace(int threads) const {
    return class_tables_bytes(axes_) + zero_bytes() + partial_bytes() + threads * thread_bytes();
  }

  void run(std::byte* workspace, const Parallel& parallel) const {
    const ClassTables classes = make_class_tables(axes_, columns_, workspace);
    T* zeros = reinterpret_cast<T*>(workspace + class_tables_bytes(axes_));
    double* partial =
        reinterpret_cast<double*>(workspace + class_tables_bytes(axes_) + zero_bytes());
    std::byte* threads = workspace + class_tables_bytes(axes_) + zero_bytes() + partial_bytes();
    std::fill(zeros, zeros + problem_.C, T{});
    const int64_t tasks = chunks_ * groups_, parts = parallel.threads();
    parallel.for_each(parts, [&](int64_t part) {
      const T** pointers = reinterpret_cast<const T**>(threads + part * thread_bytes());
      for (int64_t task = tasks * part / parts; task < tasks * (part + 1) / parts; ++task) {
        run_task(task / groups_, task % groups_, classes.cols[0].columns, zeros, partial, pointers);
      }
    });
    parallel.for_each(vectors_, [&](int64_t vector) { write_filters(vector, partial); });
  }

 private:
  // Channels that lie side by side in memory are summed one after the other, while their pixels'
  // lines are in the cache.
  static constexpr int64_t kGroupVectors = 8;

  int64_t sums_pitch() const { return vectors_ * V::kLanes; }
  int64_t grad_pitch() const { return round_up(cols_, kGradCols); }
  int64_t zero_bytes() const { return round_up(problem_.C * int64_t{sizeof(T)}, 64); }
  int64_t partial_bytes() const {
    return round_up(chunks_ * taps_ * sums_pitch() * int64_t{sizeof(double)}, 64);
  }
  int64_t thread_bytes() const {
    return round_up((slots_ * row_elements_ + rows_ * grad_pitch()) * int64_t{sizeof(T*)}, 64);
  }

  // The last vector of channels overlaps the one before it.
  int64_t first_channel(int64_t vector) const {
    return std::min(vector * V::kLanes, problem_.C - V::kLanes);
  }

  void run_task(int64_t chunk, int64_t group, const int64_t* columns, const T* zeros,
                double* partial, const T** pointers) const {
    const int64_t first = group * kGroupVectors;
    const int64_t last = std::min(first + kGroupVectors, vectors_);
    double* sums = partial + chunk * taps_ * sums_pitch();
    for (int64_t tap = 0; tap < taps_; ++tap) {
      double* row = sums + tap * sums_pitch();
      std::fill(row + first * V::kLanes, row + last * V::kLanes, 0.0);
    }
    const int64_t blocks = problem_.N * row_blocks_ * col_blocks_;
    for (int64_t block = blocks * chunk / chunks_; block < blocks * (chunk + 1) / chunks_;
         ++block) {
      const int64_t col = block % col_blocks_ * cols_;
      const int64_t row = block / col_blocks_ % row_blocks_ * rows_;
      const int64_t n = block / col_blocks_ / row_blocks_;
      PixelSumsCall<T> call;
      call.rows = std::min(rows_, problem_.P - row);
      const RowLayout layout = row_layout(axes_.row, problem_.R, problem_.dilation.h, call.rows);
      point_at_inputs(n, row, col, layout, zeros, pointers);
      const T** grads = pointers + slots_ * row_elements_;
      point_at_grads(n, row, col, call.rows, zeros, grads);
      call.inputs = pointers;
      call.row_elements = row_elements_;
      call.slot_step = layout.step;
      call.slot_spacing = layout.spacing;
      call.columns = columns;
      call.grads = grads;
      call.grad_pitch = grad_pitch();
      call.tap_cols = problem_.S;
      call.sums_pitch = sums_pitch();
      const bool neighbours = columns_.shared && columns_.arrays == 1 && columns_.shift == 1;
      for (int64_t vector = first; vector < last; ++vector) {
        call.channel = first_channel(vector);
        call.sums = sums + vector * V::kLanes;
        sum_pixel_block<V, T>(call, problem_.R, neighbours);
      }
    }
  }

  void point_at_inputs(int64_t n, int64_t first_row, int64_t first_col, const RowLayout& layout,
                       const T* zeros, const T** to) const {
    const T* image = static_cast<const T*>(tensors_.input) + n * problem_.input.n;
    const int64_t step = axes_.col.in_step;
    for (int64_t slot = 0; slot < layout.slots; ++slot) {
      const int64_t h = layout.input_row(row_taps_, axes_.row, first_row, slot);
      const bool row_exists = h >= 0 && h < problem_.H;
      for (int64_t array = 0; array < columns_.arrays; ++array) {
        const int64_t start = columns_.start(axes_.col, array) + first_col * step;
        for (int64_t t = 0; t < columns_.pitch; ++t) {
          const int64_t w = t < columns_.length ? start + t * step : -1;
          const bool exists = row_exists && w >= 0 && w < problem_.W;
          *to++ = exists ? image + h * problem_.input.h + w * problem_.input.w : zeros;
        }
      }
    }
  }

  void point_at_grads(int64_t n, int64_t first_row, int64_t first_col, int64_t rows, const T* zeros,
                      const T** to) const {
    const T* image = static_cast<const T*>(tensors_.output) + n * problem_.output.n;
    for (int64_t i = 0; i < rows; ++i) {
      const T* row = image + (first_row + i) * problem_.output.h;
      for (int64_t j = 0; j < grad_pitch(); ++j) {
        const bool exists = j < cols_ && first_col + j < problem_.Q;
        *to++ = exists ? row + (first_col + j) * problem_.output.w : zeros;
      }
    }
  }

  // Tap by tap: of one filter after another the sums lie a multiple of 4 KiB apart, in one set of
  // L1.
  void write_filters(int64_t vector, const double* partial) const {
    // The last vector has the sums of some channels that the one before it writes.
    const int64_t begin = vector * V::kLanes, first = first_channel(vector);
    const Strides4& s = problem_.weight;
    T* const weight = static_cast<T*>(tensors_.weight) + first * s.n;
    for (int64_t tap = 0; tap < taps_; ++tap) {
      double sums[V::kLanes] = {};
      for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
        const double* const from = partial + (chunk * taps_ + tap) * sums_pitch() + begin;
        for (int64_t lane = 0; lane < V::kLanes; ++lane) sums[lane] += from[lane];
      }
      T* const to = weight + tap / problem_.S * s.h + tap % problem_.S * s.w;
      for (int64_t lane = begin - first; lane < V::kLanes; ++lane) {
        to[lane * s.n] = Storage<T>::store(static_cast<E>(sums[lane]));
      }
    }
  }

  const Conv2dProblem& problem_;
  const Conv2dTensors& tensors_;
  Axes axes_;
  TapClass row_taps_;
  ColumnLayout columns_;
  int64_t taps_, rows_, cols_, row_blocks_, col_blocks_, row_elements_, slots_;
  int64_t vectors_, groups_, chunks_;
};

}  // namespace
}  // namespace fastconv::cpu
