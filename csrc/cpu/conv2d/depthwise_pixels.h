// fprop and dgrad of a depthwise convolution pixel by pixel, vectors across channels: the way of
// channels_last with one filter per channel. The weight is transposed once to [r][s][c]; input and
// output are touched in the order they lie in memory.
#pragma once

#include <cstddef>

#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/depthwise_geometry.h"
#include "cpu/conv2d/depthwise_pixel_kernels.h"
#include "cpu/dtype.h"

namespace fastconv::cpu {
namespace {

template <class V, class T>
class PixelGather {
 public:
  using E = typename V::Element;

  static bool fits(const Conv2dProblem& p) {
    return p.K == p.C && p.C >= V::kLanes && p.input.c == 1 && p.output.c == 1;
  }

  PixelGather(const Conv2dProblem& problem, const Conv2dTensors& tensors, bool dgrad)
      : problem_(problem), axes_(dgrad ? dgrad_axes(problem) : fprop_axes(problem)) {
    weight_ = static_cast<const T*>(tensors.weight);
    bias_ = dgrad ? nullptr : static_cast<const T*>(tensors.bias);
    in_ = static_cast<const T*>(dgrad ? tensors.output : tensors.input);
    in_strides_ = dgrad ? problem.output : problem.input;
    out_ = static_cast<T*>(dgrad ? tensors.input : tensors.output);
    out_strides_ = dgrad ? problem.input : problem.output;
    row_blocks_ = (axes_.row.most_outs() + kBlockRows - 1) / kBlockRows;
    every_output_has_a_tap_ =
        axes_.row.every_output_has_a_tap() && axes_.col.every_output_has_a_tap();
  }

  int64_t workspace(int threads) const { return shared_bytes() + threads * thread_bytes(); }

  void run(std::byte* workspace, const Parallel& parallel) const {
    Shared shared;
    shared.weight = reinterpret_cast<E*>(workspace);
    shared.initial = shared.weight + problem_.R * problem_.S * problem_.C;
    T* zeros = reinterpret_cast<T*>(shared.initial + problem_.C);
    shared.zeros = zeros;
    transpose_weight(shared.weight);
    for (int64_t c = 0; c < problem_.C; ++c) {
      shared.initial[c] = bias_ == nullptr ? E{0} : Storage<T>::load(bias_[c]);
      zeros[c] = T{};
    }
    const int64_t tasks = problem_.N * row_blocks_;
    const int64_t parts = parallel.threads();
    parallel.for_each(parts, [&](int64_t part) {
      const Scratch scratch = scratch_at(workspace + shared_bytes() + part * thread_bytes());
      for (int64_t task = tasks * part / parts; task < tasks * (part + 1) / parts; ++task) {
        run_task(task / row_blocks_, task % row_blocks_ * kBlockRows, shared, scratch);
      }
    });
  }

 private:
  struct Shared {
    E* weight;
    E* initial;
    const T* zeros;
  };
  struct Scratch {
    const T** inputs;
    T* unused;  // where the outputs go that a block has in excess
  };

  int64_t shared_bytes() const {
    return round_up(
        problem_.C * ((problem_.R * problem_.S + 1) * int64_t{sizeof(E)} + int64_t{sizeof(T)}), 64);
  }
  int64_t input_pointers() const {
    constexpr int64_t kUnrolled = (kBlockRows * 2 + 5) * (kBlockCols * 2 + 5);
    return std::max(kUnrolled, problem_.R * problem_.S * kAnyCols);
  }
  int64_t thread_bytes() const {
    return round_up(input_pointers() * int64_t{sizeof(T*)} + problem_.C * int64_t{sizeof(T)}, 64);
  }
  Scratch scratch_at(std::byte* at) const {
    Scratch scratch;
    scratch.inputs = reinterpret_cast<const T**>(at);
    scratch.unused = reinterpret_cast<T*>(scratch.inputs + input_pointers());
    return scratch;
  }

  void transpose_weight(E* to) const {
    const Strides4& s = problem_.weight;
    for (int64_t tap = 0; tap < problem_.R * problem_.S; ++tap, to += problem_.C) {
      const T* from = weight_ + tap / problem_.S * s.h + tap % problem_.S * s.w;
      for (int64_t c = 0; c < problem_.C; ++c) to[c] = Storage<T>::load(from[c * s.n]);
    }
  }

  // Rows [first_row, first_row + kBlockRows) of every class, in image n.
  void run_task(int64_t n, int64_t first_row, const Shared& shared, const Scratch& scratch) const {
    if (!every_output_has_a_tap_) zero_outputs(n, first_row);
    for (int64_t r = 0; r < axes_.row.classes(); ++r) {
      const TapClass rows = axes_.row.tap_class(r);
      if (rows.outs <= first_row) continue;
      for (int64_t s = 0; s < axes_.col.classes(); ++s) {
        run_class(n, first_row, rows, axes_.col.tap_class(s), shared, scratch);
      }
    }
  }

  // Distance of neighbouring taps, or of outputs where there is one tap.
  static int64_t pixel_step(const TapClass& taps, const Axis& axis) {
    return taps.taps == 1 ? axis.in_step : taps.in_spacing;
  }

  // By how much the taps of neighbouring outputs are shifted, the same in both directions, or 0
  // where no unrolled kernel applies.
  int64_t overlap(const TapClass& rows, const TapClass& cols) const {
    const int64_t row_step = pixel_step(rows, axes_.row), col_step = pixel_step(cols, axes_.col);
    // Also keeps what follows from overflowing.
    if (axes_.row.in_step > axes_.row.in || axes_.col.in_step > axes_.col.in) return 0;
    for (int64_t overlap : {1, 2}) {
      const bool rows_fit = rows.taps == 1 ? overlap == 1 : axes_.row.in_step == overlap * row_step;
      const bool cols_fit = cols.taps == 1 ? overlap == 1 : axes_.col.in_step == overlap * col_step;
      if (rows_fit && cols_fit) return overlap;
    }
    return 0;
  }

  const T* pixel(const T* image, int64_t h, int64_t w, const Shared& shared) const {
    const bool inside = h >= 0 && h < axes_.row.in && w >= 0 && w < axes_.col.in;
    return inside ? image + h * in_strides_.h + w * in_strides_.w : shared.zeros;
  }

  void run_class(int64_t n, int64_t first_row, const TapClass& rows, const TapClass& cols,
                 const Shared& shared, const Scratch& scratch) const {
    PixelsCall<T, E> call;
    T* outputs[kBlockRows * kBlockCols];
    call.inputs = scratch.inputs;
    call.outputs = outputs;
    call.weight = shared.weight + (rows.first_tap * problem_.S + cols.first_tap) * problem_.C;
    call.weight_row = rows.tap_step * problem_.S * problem_.C;
    call.weight_col = cols.tap_step * problem_.C;
    call.tap_rows = rows.taps;
    call.tap_cols = cols.taps;
    call.initial = shared.initial;
    call.channels = problem_.C;
    const T* image = in_ + n * in_strides_.n;
    const PixelsKernel<V, T> kernel =
        pixels_kernel<V, T>(rows.taps, cols.taps, overlap(rows, cols));

    if (kernel.in_rows > 0) {
      const int64_t row_step = pixel_step(rows, axes_.row), col_step = pixel_step(cols, axes_.col);
      for (int64_t j = 0; j < cols.outs; j += kBlockCols) {
        for (int64_t t = 0; t < kernel.in_rows; ++t) {
          const int64_t h = rows.first_in + first_row * axes_.row.in_step + t * row_step;
          const int64_t w = cols.first_in + j * axes_.col.in_step;
          for (int64_t u = 0; u < kernel.in_cols; ++u) {
            scratch.inputs[t * kernel.in_cols + u] = pixel(image, h, w + u * col_step, shared);
          }
        }
        for (int64_t at = 0; at < kBlockRows * kBlockCols; ++at) {
          outputs[at] =
              output(n, rows, first_row + at / kBlockCols, cols, j + at % kBlockCols, scratch);
        }
        kernel.run(call);
      }
      return;
    }
    const int64_t last_row = std::min<int64_t>(first_row + kBlockRows, rows.outs);
    for (int64_t i = first_row; i < last_row; ++i) {
      for (int64_t j = 0; j < cols.outs; j += kAnyCols) {
        const T** in = scratch.inputs;
        for (int64_t a = 0; a < rows.taps; ++a) {
          const int64_t h = rows.first_in + i * axes_.row.in_step + a * rows.in_spacing;
          for (int64_t b = 0; b < cols.taps; ++b) {
            for (int64_t l = 0; l < kAnyCols; ++l) {
              *in++ = j + l < cols.outs
                          ? pixel(image, h,
                                  cols.first_in + (j + l) * axes_.col.in_step + b * cols.in_spacing,
                                  shared)
                          : shared.zeros;
            }
          }
        }
        for (int64_t l = 0; l < kAnyCols; ++l) {
          outputs[l] = output(n, rows, i, cols, j + l, scratch);
        }
        kernel.run(call);
      }
    }
  }

  T* output(int64_t n, const TapClass& rows, int64_t i, const TapClass& cols, int64_t j,
            const Scratch& scratch) const {
    if (i >= rows.outs || j >= cols.outs) return scratch.unused;
    return out_ + n * out_strides_.n + (rows.first_out + i * axes_.row.out_step) * out_strides_.h +
           (cols.first_out + j * axes_.col.out_step) * out_strides_.w;
  }

  // Where the stride outruns the taps some elements of grad_input receive nothing.
  void zero_outputs(int64_t n, int64_t first_row) const {
    const int64_t step = axes_.row.out_step;
    const int64_t last_row = first_row + kBlockRows;
    const int64_t end = last_row >= axes_.row.most_outs() ? axes_.row.out : last_row * step;
    for (int64_t h = first_row * step; h < end; ++h) {
      for (int64_t w = 0; w < axes_.col.out; ++w) {
        T* pixel = out_ + n * out_strides_.n + h * out_strides_.h + w * out_strides_.w;
        std::fill(pixel, pixel + problem_.C, T{});
      }
    }
  }

  const Conv2dProblem& problem_;
  Axes axes_;
  const T* weight_;
  const T* bias_;
  const T* in_;
  T* out_;
  Strides4 in_strides_, out_strides_;
  int64_t row_blocks_;
  bool every_output_has_a_tap_;
};

}  // namespace
}  // namespace fastconv::cpu
