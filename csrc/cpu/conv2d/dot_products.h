// fprop of a few pixels, such as squeeze-and-excitation's one: each filter lies in memory as one
// row, which is read once, where it lies, against the windows of all pixels. A GEMM spends longer
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
class DotProducts {
 public:
  using Sum = typename Storage<T>::Accumulator;
  using Vector = typename Target::template Vector<Sum>;
  using Type = typename Vector::Type;
  static constexpr int kLanes = Vector::kLanes;

  explicit DotProducts(const Conv2dProblem& problem) : p_(problem), windows_(problem) {}

  int64_t workspace() const { return windows_.elements() * static_cast<int64_t>(sizeof(Sum)); }

  void run(const Conv2dTensors& t, std::byte* workspace, const Parallel& parallel) const {
    Sum* const windows = reinterpret_cast<Sum*>(workspace);
    windows_.copy_windows(static_cast<const T*>(t.input), windows);
    const int64_t threads = threads_for_rows(p_, parallel.threads());
    const EvenParts parts{p_.group_out_channels(), kFilters, ceil_div(threads, p_.groups)};
    const Parallel over = threads == 1 ? Parallel::alone() : parallel;
    over.for_each(parts.parts * p_.groups, [&](int64_t task) {
      const int64_t group = task / parts.parts, part = task % parts.parts;
      const int64_t begin = group * p_.group_out_channels() + parts.begin(part);
      const Range filters{begin, parts.size(part)};
      const Sum* const of_group = windows + group * windows_.of_group();
      switch (windows_.pixels()) {
        case 1:
          return form<1>(filters, of_group, t);
        case 2:
          return form<2>(filters, of_group, t);
        case 3:
          return form<3>(filters, of_group, t);
        default:
          return form<4>(filters, of_group, t);
      }
    });
  }

 private:
  static_assert(kMostDotPixels == 4);
  // Rows of the weight that are read side by side: four streams from memory.
  static constexpr int kFilters = 4;
  // Products of a lane before they are added to the sum of all, as kLongestSum.
  static constexpr int64_t kBlock = kLongestSum * kLanes;

  // Of each filter its lanes, not yet added up; zeros beyond the last filter.
  struct SumsOfPixel {
    alignas(64) Sum of_filter[kLanes][kLanes];
  };

  template <int kPixels>
  void form(Range filters, const Sum* windows, const Conv2dTensors& t) const {
    const int64_t end = filters.begin + filters.size;
    for (int64_t k = filters.begin; k < end; k += kLanes) {
      const int64_t count = end - k < kLanes ? end - k : kLanes;
      SumsOfPixel sums[kPixels];
      int64_t i = 0;
      for (; i + kFilters <= count; i += kFilters) {
        form_filters<kPixels, kFilters>(k, i, windows, t, sums);
      }
      for (; i < count; ++i) form_filters<kPixels, 1>(k, i, windows, t, sums);
      for (; i < kLanes; ++i) {
        for (SumsOfPixel& of_pixel : sums) Vector::store(of_pixel.of_filter[i], Vector::zero());
      }
      for (int p = 0; p < kPixels; ++p) store(k, count, p, sums[p], t);
    }
  }

  template <int kPixels, int kRows>
  void form_filters(int64_t k, int64_t first, const Sum* windows, const Conv2dTensors& t,
                    SumsOfPixel (&of_pixels)[kPixels]) const {
    const T* const rows = static_cast<const T*>(t.weight) + (k + first) * p_.weight.n;
    Type sums[kRows][kPixels];
    clear(sums);
    for (int64_t block = 0; block < windows_.depth(); block += kBlock) {
      const int64_t end = windows_.depth() - block < kBlock ? windows_.depth() : block + kBlock;
      Type part[kRows][kPixels];
      clear(part);
      int64_t j = block;
      for (; j + kLanes <= end; j += kLanes) {
        step<kPixels, kRows>(rows + j, windows + j, first_lanes(kLanes), part);
      }
      if (j < end) step<kPixels, kRows>(rows + j, windows + j, first_lanes(end - j), part);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
        for (int p = 0; p < kPixels; ++p) sums[i][p] = Vector::add(sums[i][p], part[i][p]);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int p = 0; p < kPixels; ++p)
        Vector::store(of_pixels[p].of_filter[first + i], sums[i][p]);
    }
  }

  template <int kPixels, int kRows>
  static void clear(Type (&sums)[kRows][kPixels]) {
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int p = 0; p < kPixels; ++p) sums[i][p] = Vector::zero();
    }
  }

  template <int kPixels, int kRows>
  [[gnu::always_inline]] void step(const T* rows, const Sum* windows, uint32_t lanes,
                                   Type (&sums)[kRows][kPixels]) const {
    Type of_pixel[kPixels];
#pragma GCC unroll 4
    for (int p = 0; p < kPixels; ++p) of_pixel[p] = Vector::load(windows + p * windows_.row());
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const Type weight = Vector::load_lanes(rows + i * p_.weight.n, lanes);
#pragma GCC unroll 4
      for (int p = 0; p < kPixels; ++p) {
        sums[i][p] = Vector::multiply_add(weight, of_pixel[p], sums[i][p]);
      }
    }
  }

  // Lanes of kLanes filters are turned round and added up side by side: one at a time takes longer
  // than the products of a row of a hundred.
  void store(int64_t k, int64_t count, int64_t pixel, const SumsOfPixel& sums,
             const Conv2dTensors& t) const {
    alignas(64) Sum lanes[kLanes][kLanes];
    Vector::transpose(sums.of_filter[0], kLanes, lanes[0], kLanes);
    Type of_lane[kLanes];
#pragma GCC unroll 16
    for (int l = 0; l < kLanes; ++l) of_lane[l] = Vector::load(lanes[l]);
#pragma GCC unroll 4
    for (int apart = kLanes / 2; apart > 0; apart /= 2) {
#pragma GCC unroll 8
      for (int l = 0; l < apart; ++l) of_lane[l] = Vector::add(of_lane[l], of_lane[l + apart]);
    }
    const uint32_t filters = first_lanes(count);
    if (t.bias != nullptr) {
      const T* const bias = static_cast<const T*>(t.bias) + k;
      of_lane[0] = Vector::add(Vector::load_lanes(bias, filters), of_lane[0]);
    }
    T* const to = static_cast<T*>(t.output) + windows_.offset_in_output(pixel) + k * p_.output.c;
    if (p_.output.c == 1) return Vector::store_lanes(to, of_lane[0], filters);
    Vector::store(lanes[0], of_lane[0]);
    for (int64_t i = 0; i < count; ++i) to[i * p_.output.c] = Storage<T>::store(lanes[0][i]);
  }

  const Conv2dProblem& p_;
  FewPixels<Target, T> windows_;
};

template <class Target>
struct DotAlgorithm {
  static int64_t workspace(const Conv2dProblem& p, int) {
    return dispatch_dtype(p.dtype, [&](auto tag) {
      return DotProducts<Target, typename decltype(tag)::type>(p).workspace();
    });
  }
  static void fprop(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    dispatch_dtype(p.dtype, [&](auto tag) {
      DotProducts<Target, typename decltype(tag)::type>(p).run(t, workspace, parallel);
    });
  }

  static constexpr Conv2dAlgorithm fprop_algorithm(const char* name) {
    return {{name, "conv2d", "fprop", Target::kIsa, kAllDTypes, 4e-7,
             "dot products of each filter, where it lies, with the windows of at most 4 pixels, "
             "sums of at most 128 products a lane; workspace: those windows"},
            reject_dot_products,
            workspace,
            fprop,
            dot_products_seconds};
  }
};

}  // namespace fastconv::cpu
