// fprop and dgrad of a depthwise convolution plane by plane, vectors along rows: the way of NCHW,
// and of every layout that is not channels_last, at the speed its strides allow.
//
// A task is a block of outputs of one plane: its input goes to scratch (depthwise_scratch.h), the
// row kernels read it there. The outputs are stored directly where a row is dense and one input
// plane makes all of it; else they pass through a buffer in the type of the sums.
#pragma once

#include <cstddef>

#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/depthwise_row_kernels.h"
#include "cpu/conv2d/depthwise_scratch.h"
#include "cpu/dtype.h"

namespace fastconv::cpu {
namespace {

template <class V, class T>
class PlaneGather {
 public:
  using E = typename V::Element;

  PlaneGather(const Conv2dProblem& problem, const Conv2dTensors& tensors, bool dgrad)
      : problem_(problem), dgrad_(dgrad), axes_(dgrad ? dgrad_axes(problem) : fprop_axes(problem)) {
    plan_ = block_plan(axes_, V::kLanes, sizeof(E));
    multiplier_ = problem.K / problem.C;
    weight_ = static_cast<const T*>(tensors.weight);
    bias_ = static_cast<const T*>(tensors.bias);
    in_ = static_cast<const T*>(dgrad ? tensors.output : tensors.input);
    in_strides_ = dgrad ? problem.output : problem.input;
    out_ = static_cast<T*>(dgrad ? tensors.input : tensors.output);
    out_strides_ = dgrad ? problem.input : problem.output;
    buffer_pitch_ = round_up(plan_.cols, V::kLanes);
    direct_ = out_strides_.w == 1 && axes_.col.out_step == 1 && (!dgrad || multiplier_ == 1);
    every_output_has_a_tap_ =
        axes_.row.every_output_has_a_tap() && axes_.col.every_output_has_a_tap();
  }

  int64_t workspace(int threads) const { return threads * thread_bytes(); }

  void run(std::byte* workspace, const Parallel& parallel) const {
    const int64_t tasks = problem_.N * problem_.C * plan_.row_blocks * plan_.col_blocks;
    const int64_t parts = parallel.threads();
    parallel.for_each(parts, [&](int64_t part) {
      const Scratch scratch = scratch_at(workspace + part * thread_bytes());
      for (int64_t task = tasks * part / parts; task < tasks * (part + 1) / parts; ++task) {
        run_task(task, scratch);
      }
    });
  }

 private:
  struct Scratch {
    E* block;
    E* buffer;  // for each class of columns a block of outputs
    E* weight;
    int64_t* columns;
  };

  // Outputs [row, row + rows) of a row class, in one plane.
  struct Rows {
    TapClass taps;
    RowLayout layout;
    int64_t row, rows;
  };

  int64_t block_bytes() const {
    return round_up(plan_.slots * plan_.row_elements * int64_t{sizeof(E)}, 64);
  }
  int64_t buffer_elements() const { return plan_.rows * buffer_pitch_; }
  int64_t buffer_bytes() const {
    return direct_ ? 0 : round_up(axes_.col.classes() * buffer_elements() * int64_t{sizeof(E)}, 64);
  }
  int64_t weight_bytes() const {
    return round_up(problem_.R * problem_.S * int64_t{sizeof(E)}, 64);
  }
  int64_t thread_bytes() const {
    return block_bytes() + buffer_bytes() + weight_bytes() +
           round_up(problem_.S * int64_t{sizeof(int64_t)}, 64);
  }

  Scratch scratch_at(std::byte* at) const {
    Scratch s;
    s.block = reinterpret_cast<E*>(at);
    s.buffer = reinterpret_cast<E*>(at + block_bytes());
    s.weight = reinterpret_cast<E*>(at + block_bytes() + buffer_bytes());
    s.columns = reinterpret_cast<int64_t*>(at + block_bytes() + buffer_bytes() + weight_bytes());
    return s;
  }

  void run_task(int64_t task, const Scratch& scratch) const {
    const int64_t first_col = task % plan_.col_blocks * plan_.cols;
    task /= plan_.col_blocks;
    const int64_t first_row = task % plan_.row_blocks * plan_.rows;
    task /= plan_.row_blocks;
    const int64_t c = task % problem_.C, n = task / problem_.C;

    if (!every_output_has_a_tap_) zero_outputs(n, c, first_row, first_col);
    for (int64_t index = 0; index < axes_.row.classes(); ++index) {
      Rows rows;
      rows.taps = axes_.row.tap_class(index);
      rows.row = first_row;
      rows.rows = std::min(plan_.rows, rows.taps.outs - first_row);
      if (rows.rows <= 0) continue;
      rows.layout = row_layout(axes_.row, rows.taps.taps, rows.taps.in_spacing, rows.rows);
      if (dgrad_) {
        for (int64_t m = 0; m < multiplier_; ++m) {
          fill(n, c * multiplier_ + m, rows, first_col, scratch);
          compute(n, c, c * multiplier_ + m, rows, first_col, m > 0, scratch);
        }
        if (!direct_) emit(n, c, rows, first_col, scratch);
      } else {
        fill(n, c, rows, first_col, scratch);
        for (int64_t k = c * multiplier_; k < (c + 1) * multiplier_; ++k) {
          compute(n, k, k, rows, first_col, false, scratch);
          if (!direct_) emit(n, k, rows, first_col, scratch);
        }
      }
    }
  }

  void fill(int64_t n, int64_t plane, const Rows& rows, int64_t first_col,
            const Scratch& scratch) const {
    fill_block<V, T>(scratch.block, in_ + n * in_strides_.n + plane * in_strides_.c, in_strides_,
                     axes_, rows.taps, rows.layout, plan_, rows.row, first_col);
  }

  int64_t outs_from(const TapClass& cols, int64_t first_col) const {
    return std::min(plan_.cols, cols.outs - first_col);
  }

  void compute(int64_t n, int64_t out_plane, int64_t filter, const Rows& rows, int64_t first_col,
               bool accumulate, const Scratch& scratch) const {
    for (int64_t index = 0; index < axes_.col.classes(); ++index) {
      const TapClass cols = axes_.col.tap_class(index);
      const int64_t outs = outs_from(cols, first_col);
      if (outs <= 0) continue;
      gather_weight(filter, rows.taps, cols, scratch);
      RowsCall<E, T> call{scratch.block,
                          plan_.row_elements,
                          rows.layout.step,
                          rows.layout.spacing,
                          rows.taps.taps,
                          cols.taps,
                          scratch.columns,
                          scratch.weight,
                          bias_ == nullptr ? E{0} : Storage<T>::load(bias_[filter]),
                          accumulate,
                          nullptr,
                          0,
                          rows.rows,
                          outs};
      if (direct_) {
        call.output = out_ + n * out_strides_.n + out_plane * out_strides_.c +
                      (rows.taps.first_out + rows.row * axes_.row.out_step) * out_strides_.h +
                      first_col;
        call.output_stride = axes_.row.out_step * out_strides_.h;
        rows_kernel<V, T>(call)(call);
      } else {
        const RowsCall<E, E> buffered{call.scratch,
                                      call.row_elements,
                                      call.slot_step,
                                      call.slot_spacing,
                                      call.tap_rows,
                                      call.tap_cols,
                                      call.columns,
                                      call.weight,
                                      call.initial,
                                      call.accumulate,
                                      scratch.buffer + index * buffer_elements(),
                                      buffer_pitch_,
                                      call.rows,
                                      call.cols};
        rows_kernel<V, E>(buffered)(buffered);
      }
    }
  }

  void gather_weight(int64_t filter, const TapClass& rows, const TapClass& cols,
                     const Scratch& scratch) const {
    const Strides4& s = problem_.weight;
    E* to = scratch.weight;
    for (int64_t a = 0; a < rows.taps; ++a) {
      const T* row = weight_ + filter * s.n + (rows.first_tap + a * rows.tap_step) * s.h;
      for (int64_t b = 0; b < cols.taps; ++b) {
        *to++ = Storage<T>::load(row[(cols.first_tap + b * cols.tap_step) * s.w]);
      }
    }
    for (int64_t b = 0; b < cols.taps; ++b) {
      scratch.columns[b] = plan_.columns.column(axes_.col, cols.first_tap + b * cols.tap_step);
    }
  }

  // From the buffer to the output.
  void emit(int64_t n, int64_t plane, const Rows& rows, int64_t first_col,
            const Scratch& scratch) const {
    const Axis& axis = axes_.col;
    T* out = out_ + n * out_strides_.n + plane * out_strides_.c +
             first_col * axis.out_step * out_strides_.w;
    const bool pairs = axis.out_step == 2 && axis.classes() == 2 && out_strides_.w == 1;
    for (int64_t i = 0; i < rows.rows; ++i) {
      T* row = out + (rows.taps.first_out + (rows.row + i) * axes_.row.out_step) * out_strides_.h;
      const E* from = scratch.buffer + i * buffer_pitch_;
      if (pairs) {
        const int64_t even = axis.tap_class(0).first_out == 0 ? 0 : 1;
        emit_pairs(row, from + even * buffer_elements(), from + (1 - even) * buffer_elements(),
                   std::min(2 * plan_.cols, axis.out - 2 * first_col));
        continue;
      }
      for (int64_t index = 0; index < axis.classes(); ++index) {
        const TapClass cols = axis.tap_class(index);
        emit_row(row + cols.first_out * out_strides_.w, axis.out_step * out_strides_.w,
                 from + index * buffer_elements(), outs_from(cols, first_col));
      }
    }
  }

  static void emit_row(T* row, int64_t stride, const E* from, int64_t count) {
    if (stride != 1) {
      for (int64_t j = 0; j < count; ++j) row[j * stride] = Storage<T>::store(from[j]);
      return;
    }
    for (int64_t j = 0; j < count; j += V::kLanes) {
      V::store_first(row + j, V::load(from + j), std::min(V::kLanes, count - j));
    }
  }

  static void emit_pairs(T* row, const E* even, const E* odd, int64_t count) {
    constexpr int64_t L = V::kLanes;
    for (int64_t j = 0; j < count; j += 2 * L) {
      typename V::Vector low, high;
      V::interleave(V::load(even + j / 2), V::load(odd + j / 2), low, high);
      if (count - j >= 2 * L) {
        V::store(row + j, low);
        V::store(row + j + L, high);
      } else {
        V::store_first(row + j, low, std::min(L, count - j));
        if (count - j > L) V::store_first(row + j + L, high, count - j - L);
      }
    }
  }

  // Where the stride outruns the taps some elements of grad_input receive nothing.
  void zero_outputs(int64_t n, int64_t plane, int64_t first_row, int64_t first_col) const {
    T* out = out_ + n * out_strides_.n + plane * out_strides_.c;
    const Extent2 begin{first_row * axes_.row.out_step, first_col * axes_.col.out_step};
    const Extent2 end{block_end(axes_.row, first_row, plan_.rows),
                      block_end(axes_.col, first_col, plan_.cols)};
    for (int64_t h = begin.h; h < end.h; ++h) {
      for (int64_t w = begin.w; w < end.w; ++w) {
        out[h * out_strides_.h + w * out_strides_.w] = T{};
      }
    }
  }
  static int64_t block_end(const Axis& axis, int64_t first, int64_t count) {
    return first + count >= axis.most_outs() ? axis.out : (first + count) * axis.out_step;
  }

  const Conv2dProblem& problem_;
  bool dgrad_;
  Axes axes_;
  BlockPlan plan_;
  int64_t multiplier_;
  const T* weight_;
  const T* bias_;
  const T* in_;
  T* out_;
  Strides4 in_strides_, out_strides_;
  int64_t buffer_pitch_;
  bool direct_;  // the kernels store to the output itself
  bool every_output_has_a_tap_;
};

}  // namespace
}  // namespace fastconv::cpu
