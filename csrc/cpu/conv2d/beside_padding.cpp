#include "cpu/conv2d/beside_padding.h"

#include <algorithm>
#include <cmath>

#include "cpu/dispatch_dtype.h"

namespace fastconv::cpu {
namespace {

// The taps of one dimension, from the side of the output or of the input.
struct Axis {
  int64_t input, kernel, output, stride, pad, dilation;

  int64_t input_at(int64_t out, int64_t tap) const { return out * stride - pad + tap * dilation; }
  bool inside_input(int64_t at) const { return at >= 0 && at < input; }

  // The output that reads input `in` through `tap`; false where there is none.
  bool output_at(int64_t in, int64_t tap, int64_t& out) const {
    const int64_t reach = in + pad - tap * dilation;
    out = reach / stride;
    return reach >= 0 && reach % stride == 0 && out < output;
  }

  bool window_is_inside(int64_t out) const {
    return inside_input(input_at(out, 0)) && inside_input(input_at(out, kernel - 1));
  }
  // Does input `in` get all the products that its place in the stride allows?
  bool reads_all_outputs(int64_t in) const {
    for (int64_t tap = 0; tap < kernel; ++tap) {
      const int64_t reach = in + pad - tap * dilation;
      if (reach % stride == 0 && (reach < 0 || reach / stride >= output)) return false;
    }
    return true;
  }

  // An output whose window is inside, or -1.
  int64_t inner_output() const {
    const int64_t first = pad / stride + (pad % stride != 0 ? 1 : 0);
    return first < output && window_is_inside(first) ? first : -1;
  }
  // The first of `stride` inputs in a row that read all outputs, or -1.
  int64_t inner_inputs() const {
    const int64_t first = std::max<int64_t>((kernel - 1) * dilation - pad, 0);
    if (stride > input - first) return -1;
    for (int64_t in = first; in < first + stride; ++in) {
      if (!reads_all_outputs(in)) return -1;
    }
    return first;
  }
};

struct Run {
  int64_t begin, size;
};

Run some_or_all(int64_t begin, int64_t size, int64_t all) {
  return begin >= 0 ? Run{begin, size} : Run{0, all};
}

template <class T>
class Repair {
 public:
  Repair(const Conv2dProblem& problem, const Conv2dTensors& tensors)
      : p_(problem),
        t_(tensors),
        rows_{p_.H, p_.R, p_.P, p_.stride.h, p_.pad.h, p_.dilation.h},
        columns_{p_.W, p_.S, p_.Q, p_.stride.w, p_.pad.w, p_.dilation.w} {}

  void fprop(const Parallel& parallel) const {
    if (p_.N == 0 || p_.P == 0 || p_.Q == 0) return;
    if (rows_.window_is_inside(0) && rows_.window_is_inside(p_.P - 1) &&
        columns_.window_is_inside(0) && columns_.window_is_inside(p_.Q - 1)) {
      return;
    }
    const Run rows = some_or_all(rows_.inner_output(), 1, p_.P);
    const Run columns = some_or_all(columns_.inner_output(), 1, p_.Q);
    for (int64_t k = 0; k < p_.K; ++k) {
      if (is_finite(t_.output, p_.output, k, rows, columns) ||
          weights_are_finite(k, k + 1, 0, channels())) {
        continue;
      }
      parallel.for_each(p_.N * p_.P,
                        [&](int64_t line) { fprop_line(line / p_.P, k, line % p_.P); });
    }
  }

  void dgrad(const Parallel& parallel) const {
    if (p_.N == 0 || p_.H == 0 || p_.W == 0) return;
    const Run rows = some_or_all(rows_.inner_inputs(), p_.stride.h, p_.H);
    const Run columns = some_or_all(columns_.inner_inputs(), p_.stride.w, p_.W);
    for (int64_t c = 0; c < p_.C; ++c) {
      const int64_t k = filters() * (c / channels()), in_group = c % channels();
      if (is_finite(t_.input, p_.input, c, rows, columns) ||
          weights_are_finite(k, k + filters(), in_group, in_group + 1)) {
        continue;
      }
      parallel.for_each(p_.N * p_.H,
                        [&](int64_t line) { dgrad_line(line / p_.H, c, line % p_.H); });
    }
  }

 private:
  static double load(const void* base, const Strides4& s, int64_t n, int64_t c, int64_t h,
                     int64_t w) {
    return Storage<T>::load(static_cast<const T*>(base)[n * s.n + c * s.c + h * s.h + w * s.w]);
  }
  static void store(void* base, const Strides4& s, int64_t n, int64_t c, int64_t h, int64_t w,
                    double value) {
    using Accumulator = typename Storage<T>::Accumulator;
    static_cast<T*>(base)[n * s.n + c * s.c + h * s.h + w * s.w] =
        Storage<T>::store(static_cast<Accumulator>(value));
  }
  double weight(int64_t k, int64_t c, int64_t r, int64_t s) const {
    return load(t_.weight, p_.weight, k, c, r, s);
  }

  int64_t channels() const { return p_.group_in_channels(); }
  int64_t filters() const { return p_.group_out_channels(); }

  // These pixels of one channel of the first image.
  static bool is_finite(const void* base, const Strides4& strides, int64_t channel, Run rows,
                        Run columns) {
    for (int64_t i = rows.begin; i < rows.begin + rows.size; ++i) {
      for (int64_t j = columns.begin; j < columns.begin + columns.size; ++j) {
        if (!std::isfinite(load(base, strides, 0, channel, i, j))) return false;
      }
    }
    return true;
  }

  bool weights_are_finite(int64_t k_begin, int64_t k_end, int64_t c_begin, int64_t c_end) const {
    for (int64_t k = k_begin; k < k_end; ++k) {
      for (int64_t c = c_begin; c < c_end; ++c) {
        for (int64_t r = 0; r < p_.R; ++r) {
          for (int64_t s = 0; s < p_.S; ++s) {
            if (!std::isfinite(weight(k, c, r, s))) return false;
          }
        }
      }
    }
    return true;
  }

  void fprop_line(int64_t n, int64_t k, int64_t i) const {
    const int64_t first_channel = k / filters() * channels();
    const bool row_is_inside = rows_.window_is_inside(i);
    for (int64_t j = 0; j < p_.Q; ++j) {
      if (row_is_inside && columns_.window_is_inside(j)) continue;
      double sum = t_.bias == nullptr ? 0.0 : Storage<T>::load(static_cast<const T*>(t_.bias)[k]);
      for (int64_t r = 0; r < p_.R; ++r) {
        const int64_t h = rows_.input_at(i, r);
        if (!rows_.inside_input(h)) continue;
        for (int64_t s = 0; s < p_.S; ++s) {
          const int64_t w = columns_.input_at(j, s);
          if (!columns_.inside_input(w)) continue;
          for (int64_t c = 0; c < channels(); ++c) {
            sum += weight(k, c, r, s) * load(t_.input, p_.input, n, first_channel + c, h, w);
          }
        }
      }
      store(t_.output, p_.output, n, k, i, j, sum);
    }
  }

  void dgrad_line(int64_t n, int64_t c, int64_t h) const {
    const int64_t first_filter = c / channels() * filters();
    const bool row_is_inner = rows_.reads_all_outputs(h);
    for (int64_t w = 0; w < p_.W; ++w) {
      if (row_is_inner && columns_.reads_all_outputs(w)) continue;
      double sum = 0;
      for (int64_t r = 0; r < p_.R; ++r) {
        int64_t i;
        if (!rows_.output_at(h, r, i)) continue;
        for (int64_t s = 0; s < p_.S; ++s) {
          int64_t j;
          if (!columns_.output_at(w, s, j)) continue;
          for (int64_t k = first_filter; k < first_filter + filters(); ++k) {
            sum += weight(k, c % channels(), r, s) * load(t_.output, p_.output, n, k, i, j);
          }
        }
      }
      store(t_.input, p_.input, n, c, h, w, sum);
    }
  }

  const Conv2dProblem& p_;
  const Conv2dTensors& t_;
  Axis rows_, columns_;
};

}  // namespace

void repair_fprop_beside_padding(const Conv2dProblem& problem, const Conv2dTensors& tensors,
                                 const Parallel& parallel) {
  if (problem.dtype == DType::f64) return;
  dispatch_dtype(problem.dtype, [&](auto tag) {
    Repair<typename decltype(tag)::type>(problem, tensors).fprop(parallel);
  });
}

void repair_dgrad_beside_padding(const Conv2dProblem& problem, const Conv2dTensors& tensors,
                                 const Parallel& parallel) {
  dispatch_dtype(problem.dtype, [&](auto tag) {
    Repair<typename decltype(tag)::type>(problem, tensors).dgrad(parallel);
  });
}

}  // namespace fastconv::cpu
