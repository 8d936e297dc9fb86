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
    bias_ = dgrad ? nullptr : static_cast<const T*>(tensors.bias);
    in_ = static_cast<const T*>(dgrad ? tensors.output : tensors.input);
    in_strides_ = dgrad ? problem.output : problem.input;
    out_ = static_cast<T*>(dgrad ? tensors.input : tensors.output);
    out_strides_ = dgrad ? problem.input : problem.output;
    buffer_pitch_ = round_up(plan_.cols, V::kLanes);
    direct_ = out_strides_.w == 1 && axes_.col.out_step == 1 && (!dgrad || multiplier_ == 1);
    // Small planes go through scratch several at a time: a load that spans two stores must wait
    // until both are out of the store buffer, behind all the outputs stored before them.
    const bool one_block = plan_.row_blocks == 1 && plan_.col_blocks == 1;
    const bool sums_filters = dgrad && multiplier_ > 1;
    batch_ = one_block && !sums_filters
                 ? std::max<int64_t>(1, kScratchBytes / (block_elements() * int64_t{sizeof(E)}))
                 : 1;
    every_output_has_a_tap_ =
        axes_.row.every_output_has_a_tap() && axes_.col.every_output_has_a_tap();
  }

  int64_t workspace(int threads) const {
    return class_tables_bytes(axes_) + threads * thread_bytes();
  }

  void run(std::byte* workspace, const Parallel& parallel) const {
    const ClassTables classes = make_class_tables(axes_, plan_.columns, workspace);
    std::byte* threads = workspace + class_tables_bytes(axes_);
    const int64_t tasks = problem_.N * problem_.C * plan_.row_blocks * plan_.col_blocks;
    if (tasks == 0) return;
    const int64_t parts = parallel.threads();
    parallel.for_each(parts, [&](int64_t part) {
      Scratch scratch = scratch_at(threads + part * thread_bytes());
      const int64_t begin = tasks * part / parts, end = tasks * (part + 1) / parts;
      Task task = task_at(begin);
      for (int64_t index = begin; index < end; index += batch_) {
        const int64_t count = std::min(batch_, end - index);
        run_batch(task, count, classes, scratch);
        for (int64_t g = 0; g < count; ++g) advance(task);
      }
    });
  }

 private:
  struct Scratch {
    E* block;
    E* buffer;  // for each class of columns a block of outputs
    E* weight;
    FillTable<V> fill;
  };

  // A block of outputs of plane c in image n.
  struct Task {
    int64_t n, c, row, col;
  };

  // Outputs [row, row + rows) of a row class, in one plane.
  struct Rows {
    TapClass taps;
    RowLayout layout;
    int64_t row, rows;
  };

  int64_t block_elements() const {
    return round_up(plan_.slots * plan_.row_elements, 64 / sizeof(E));
  }
  int64_t block_bytes() const { return batch_ * block_elements() * int64_t{sizeof(E)}; }
  int64_t buffer_elements() const { return plan_.rows * buffer_pitch_; }
  int64_t buffer_bytes() const {
    return direct_ ? 0 : round_up(axes_.col.classes() * buffer_elements() * int64_t{sizeof(E)}, 64);
  }
  int64_t weight_bytes() const {
    return round_up(problem_.R * problem_.S * int64_t{sizeof(E)}, 64);
  }
  int64_t thread_bytes() const {
    return block_bytes() + buffer_bytes() + weight_bytes() +
           fill_table_bytes<V>(axes_.col, plan_.columns);
  }

  Scratch scratch_at(std::byte* at) const {
    Scratch s;
    s.block = reinterpret_cast<E*>(at);
    s.buffer = reinterpret_cast<E*>(at + block_bytes());
    s.weight = reinterpret_cast<E*>(at + block_bytes() + buffer_bytes());
    s.fill =
        empty_fill_table<V>(plan_.columns, at + block_bytes() + buffer_bytes() + weight_bytes());
    return s;
  }

  Task task_at(int64_t index) const {
    Task task;
    task.col = index % plan_.col_blocks * plan_.cols;
    index /= plan_.col_blocks;
    task.row = index % plan_.row_blocks * plan_.rows;
    index /= plan_.row_blocks;
    task.c = index % problem_.C;
    task.n = index / problem_.C;
    return task;
  }
  void advance(Task& task) const {
    if ((task.col += plan_.cols) < plan_.col_blocks * plan_.cols) return;
    task.col = 0;
    if ((task.row += plan_.rows) < plan_.row_blocks * plan_.rows) return;
    task.row = 0;
    if (++task.c < problem_.C) return;
    task.c = 0;
    ++task.n;
  }

  // `count` tasks from `first` on.
  void run_batch(const Task& first, int64_t count, const ClassTables& classes,
                 Scratch& scratch) const {
    prepare(scratch.fill, axes_.col, plan_.columns, first.col);
    if (!every_output_has_a_tap_) {
      Task zeroed = first;
      for (int64_t g = 0; g < count; ++g, advance(zeroed)) zero_outputs(zeroed);
    }
    for (int64_t index = 0; index < classes.row_count; ++index) {
      Rows rows;
      rows.taps = classes.rows[index];
      rows.row = first.row;
      rows.rows = std::min(plan_.rows, rows.taps.outs - first.row);
      if (rows.rows <= 0) continue;
      rows.layout = row_layout(axes_.row, rows.taps.taps, rows.taps.in_spacing, rows.rows);
      // dgrad sums over the filters of a channel.
      for (int64_t m = 0; m < (dgrad_ ? multiplier_ : 1); ++m) {
        Task task = first;
        for (int64_t g = 0; g < count; ++g, advance(task)) {
          fill(task, dgrad_ ? task.c * multiplier_ + m : task.c, rows, scratch, g);
        }
        task = first;
        for (int64_t g = 0; g < count; ++g, advance(task)) {
          const E* block = scratch.block + g * block_elements();
          if (dgrad_) {
            compute(task, task.c, task.c * multiplier_ + m, rows, m > 0, classes, scratch, block);
            if (!direct_ && m == multiplier_ - 1) emit(task, task.c, rows, classes, scratch);
          } else {
            for (int64_t k = task.c * multiplier_; k < (task.c + 1) * multiplier_; ++k) {
              compute(task, k, k, rows, false, classes, scratch, block);
              if (!direct_) emit(task, k, rows, classes, scratch);
            }
          }
        }
      }
    }
  }

  void fill(const Task& task, int64_t plane, const Rows& rows, const Scratch& scratch,
            int64_t g) const {
    fill_block<V, T>(scratch.block + g * block_elements(),
                     in_ + task.n * in_strides_.n + plane * in_strides_.c, in_strides_, axes_,
                     rows.taps, rows.layout, plan_, rows.row, scratch.fill);
  }

  T* output_plane(const Task& task, int64_t plane) const {
    return out_ + task.n * out_strides_.n + plane * out_strides_.c;
  }

  void compute(const Task& task, int64_t out_plane, int64_t filter, const Rows& rows,
               bool accumulate, const ClassTables& classes, const Scratch& scratch,
               const E* block) const {
    for (int64_t index = 0; index < classes.col_count; ++index) {
      const TapClass& cols = classes.cols[index].taps;
      const int64_t outs = std::min(plan_.cols, cols.outs - task.col);
      if (outs <= 0) continue;
      gather_weight(filter, rows.taps, cols, scratch.weight);
      RowsInput<E> input;
      input.scratch = block;
      input.row_elements = plan_.row_elements;
      input.slot_step = rows.layout.step;
      input.slot_spacing = rows.layout.spacing;
      input.apart = rows.layout.apart();
      input.tap_rows = rows.taps.taps;
      input.tap_cols = cols.taps;
      input.columns = classes.cols[index].columns;
      input.weight = scratch.weight;
      input.initial = bias_ == nullptr ? E{0} : Storage<T>::load(bias_[filter]);
      input.accumulate = accumulate;
      input.rows = rows.rows;
      input.cols = outs;
      if (direct_) {
        T* out = output_plane(task, out_plane) + task.col +
                 (rows.taps.first_out + rows.row * axes_.row.out_step) * out_strides_.h;
        rows_kernel<V, T>(input)(input, out, axes_.row.out_step * out_strides_.h);
      } else {
        rows_kernel<V, E>(input)(input, scratch.buffer + index * buffer_elements(), buffer_pitch_);
      }
    }
  }

  void gather_weight(int64_t filter, const TapClass& rows, const TapClass& cols, E* to) const {
    const Strides4& s = problem_.weight;
    const T* row = weight_ + filter * s.n + rows.first_tap * s.h + cols.first_tap * s.w;
    for (int64_t a = 0; a < rows.taps; ++a, row += rows.tap_step * s.h) {
      for (int64_t b = 0; b < cols.taps; ++b)
        *to++ = Storage<T>::load(row[b * cols.tap_step * s.w]);
    }
  }

  // From the buffer to the output.
  void emit(const Task& task, int64_t plane, const Rows& rows, const ClassTables& classes,
            const Scratch& scratch) const {
    const int64_t step = axes_.col.out_step;
    const bool pairs = step == 2 && classes.col_count == 2 && out_strides_.w == 1;
    T* row = output_plane(task, plane) + task.col * step * out_strides_.w +
             (rows.taps.first_out + rows.row * axes_.row.out_step) * out_strides_.h;
    const E* from = scratch.buffer;
    for (int64_t i = 0; i < rows.rows; ++i) {
      if (pairs) {
        const int64_t even = classes.cols[0].taps.first_out == 0 ? 0 : 1;
        emit_pairs(row, from + even * buffer_elements(), from + (1 - even) * buffer_elements(),
                   std::min(2 * plan_.cols, axes_.col.out - 2 * task.col));
      } else {
        for (int64_t index = 0; index < classes.col_count; ++index) {
          const TapClass& cols = classes.cols[index].taps;
          emit_row(row + cols.first_out * out_strides_.w, step * out_strides_.w,
                   from + index * buffer_elements(), std::min(plan_.cols, cols.outs - task.col));
        }
      }
      row += axes_.row.out_step * out_strides_.h;
      from += buffer_pitch_;
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
  void zero_outputs(const Task& task) const {
    T* out = output_plane(task, task.c);
    const Extent2 begin{task.row * axes_.row.out_step, task.col * axes_.col.out_step};
    const Extent2 end{block_end(axes_.row, task.row, plan_.rows),
                      block_end(axes_.col, task.col, plan_.cols)};
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
  int64_t batch_;
  bool direct_;  // the kernels store to the output itself
  bool every_output_has_a_tap_;
};

}  // namespace
}  // namespace fastconv::cpu
