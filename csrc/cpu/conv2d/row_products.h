// dgrad of a few pixels, such as squeeze-and-excitation's one: each filter lies in memory as one
// row, which is read once, where it lies, times what grad_output has for it. A GEMM spends longer
// on panels of the weight than on their products. To be included under an instruction set's pragma.
#pragma once

#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/dot_rows.h"
#include "cpu/conv2d/few_pixels.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/dispatch_dtype.h"
#include "cpu/dtype.h"
#include "cpu/gemm/blocking.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

template <class Target, class T>
class RowProducts {
 public:
  using Sum = typename Storage<T>::Accumulator;
  using Vector = typename Target::template Vector<Sum>;
  using Type = typename Vector::Type;
  static constexpr int kLanes = Vector::kLanes;

  explicit RowProducts(const Conv2dProblem& problem) : p_(problem), windows_(problem) {}

  int64_t workspace() const { return 2 * windows_.elements() * static_cast<int64_t>(sizeof(Sum)); }

  // The gradients of the windows, then of the pixels that they hold. Threads share columns of the
  // rows, so that no sum depends on how many they are.
  void run(const Conv2dTensors& t, std::byte* workspace, const Parallel& parallel) const {
    const Sums sums{reinterpret_cast<Sum*>(workspace),
                    reinterpret_cast<Sum*>(workspace) + windows_.elements()};
    const int64_t threads = threads_for_rows(p_, parallel.threads());
    const Parallel over = threads == 1 ? Parallel::alone() : parallel;
    const EvenParts columns{windows_.row(), kLanes, threads};
    over.for_each(columns.parts, [&](int64_t part) {
      const Range range{columns.begin(part), columns.size(part)};
      for (int64_t group = 0; group < p_.groups; ++group) {
        switch (windows_.pixels()) {
          case 1:
            add_rows<1>(group, range, t, sums);
            break;
          case 2:
            add_rows<2>(group, range, t, sums);
            break;
          case 3:
            add_rows<3>(group, range, t, sums);
            break;
          default:
            add_rows<4>(group, range, t, sums);
        }
      }
    });
    const EvenParts rows{p_.N * p_.H, 1, threads};
    over.for_each(rows.parts, [&](int64_t part) {
      for (int64_t i = 0; i < rows.size(part); ++i) {
        const int64_t row = rows.begin(part) + i;
        for (int64_t w = 0; w < p_.W; ++w) store_pixel(row / p_.H, row % p_.H, w, sums.total, t);
      }
    });
  }

 private:
  static_assert(kMostDotPixels == 4);
  // Rows of the weight that are read side by side: four streams from memory.
  static constexpr int kFilters = 4;

  // [group][pixel][row]: of up to kLongestSum filters, and of all.
  struct Sums {
    Sum *total, *part;
  };

  Type gradient(int64_t filter, int64_t pixel, const Conv2dTensors& t) const {
    const T* const from = static_cast<const T*>(t.output) + windows_.offset_in_output(pixel);
    const Sum value = Storage<T>::load(from[filter * p_.output.c]);
    return Vector::broadcast(&value);
  }

  template <int kPixels>
  void add_rows(int64_t group, Range columns, const Conv2dTensors& t, const Sums& sums) const {
    Sum* const total = sums.total + group * windows_.of_group();
    Sum* const part = sums.part + group * windows_.of_group();
    const int64_t begin = group * p_.group_out_channels(), end = begin + p_.group_out_channels();
    for (int64_t k = begin; k < end; k += kLongestSum) {
      const int64_t block_end = end - k < kLongestSum ? end : k + kLongestSum;
      for_each_vector(columns, [&](Sum* at, int64_t) { Vector::store(at, Vector::zero()); }, part);
      int64_t i = k;
      for (; i + kFilters <= block_end; i += kFilters) {
        add_filters<kPixels, kFilters>(i, columns, t, part);
      }
      for (; i < block_end; ++i) add_filters<kPixels, 1>(i, columns, t, part);
      for_each_vector(
          columns,
          [&](Sum* at, int64_t in_group) {
            const Type sum = Vector::load(part + in_group);
            Vector::store(at, k == begin ? sum : Vector::add(Vector::load(at), sum));
          },
          total);
    }
  }

  // fn(where the vector lies, from the first of `group`), for the columns of all pixels.
  template <class F>
  void for_each_vector(Range columns, const F& fn, Sum* group) const {
    for (int64_t p = 0; p < windows_.pixels(); ++p) {
      for (int64_t j = 0; j < columns.size; j += kLanes) {
        const int64_t at = p * windows_.row() + columns.begin + j;
        fn(group + at, at);
      }
    }
  }

  template <int kPixels, int kRows>
  void add_filters(int64_t k, Range columns, const Conv2dTensors& t, Sum* part) const {
    const T* const rows = static_cast<const T*>(t.weight) + k * p_.weight.n;
    Type gradients[kRows][kPixels];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int p = 0; p < kPixels; ++p) gradients[i][p] = gradient(k + i, p, t);
    }
    for (int64_t j = columns.begin; j < columns.begin + columns.size; j += kLanes) {
      const uint32_t lanes = lanes_at(j);
      Type sums[kPixels];
#pragma GCC unroll 4
      for (int p = 0; p < kPixels; ++p) sums[p] = Vector::load(part + p * windows_.row() + j);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) {
        const Type weight = Vector::load_lanes(rows + i * p_.weight.n + j, lanes);
#pragma GCC unroll 4
        for (int p = 0; p < kPixels; ++p) {
          sums[p] = Vector::multiply_add(gradients[i][p], weight, sums[p]);
        }
      }
#pragma GCC unroll 4
      for (int p = 0; p < kPixels; ++p) Vector::store(part + p * windows_.row() + j, sums[p]);
    }
  }

  // Of the lanes from column j on, those that a filter has.
  uint32_t lanes_at(int64_t j) const {
    return first_lanes(windows_.depth() - j) & first_lanes(kLanes);
  }

  // What the windows that hold this pixel of the input have for it; nothing is zero.
  void store_pixel(int64_t n, int64_t h, int64_t w, const Sum* total,
                   const Conv2dTensors& t) const {
    int64_t offsets[kMostDotPixels];
    int count = 0;
    for (int64_t op = 0; op < p_.P; ++op) {
      const int64_t r = tap_at(h + p_.pad.h - op * p_.stride.h, p_.dilation.h, p_.R);
      for (int64_t oq = 0; r >= 0 && oq < p_.Q; ++oq) {
        const int64_t s = tap_at(w + p_.pad.w - oq * p_.stride.w, p_.dilation.w, p_.S);
        if (s < 0) continue;
        offsets[count++] =
            ((n * p_.P + op) * p_.Q + oq) * windows_.row() + r * p_.weight.h + s * p_.weight.w;
      }
    }
    T* to = static_cast<T*>(t.input) + n * p_.input.n + h * p_.input.h + w * p_.input.w;
    for (int64_t group = 0; group < p_.groups; ++group, total += windows_.of_group()) {
      for (int64_t c = 0; c < p_.group_in_channels(); ++c, to += p_.input.c) {
        Sum sum = 0;
        for (int i = 0; i < count; ++i) sum += total[offsets[i] + c * p_.weight.c];
        *to = Storage<T>::store(sum);
      }
    }
  }
  // The tap that lies so far into a window, or -1.
  static int64_t tap_at(int64_t distance, int64_t dilation, int64_t taps) {
    if (distance < 0 || distance % dilation != 0 || distance / dilation >= taps) return -1;
    return distance / dilation;
  }

  const Conv2dProblem& p_;
  FewPixels<Target, T> windows_;
};

template <class Target>
struct RowAlgorithm {
  static int64_t workspace(const Conv2dProblem& p, int) {
    return dispatch_dtype(p.dtype, [&](auto tag) {
      return RowProducts<Target, typename decltype(tag)::type>(p).workspace();
    });
  }
  static void dgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    dispatch_dtype(p.dtype, [&](auto tag) {
      RowProducts<Target, typename decltype(tag)::type>(p).run(t, workspace, parallel);
    });
  }

  static constexpr Conv2dAlgorithm dgrad_algorithm(const char* name) {
    return {{name, "conv2d", "dgrad", Target::kIsa, kAllDTypes, 4e-7,
             "each filter, where it lies, times the gradients of at most 4 pixels, sums of at most "
             "128 products; workspace: twice the windows of those"},
            reject_dot_products,
            workspace,
            dgrad,
            row_products_seconds};
  }
};

}  // namespace fastconv::cpu
