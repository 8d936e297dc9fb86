// The gradient of the weight of grouped convolutions of few channels, with no im2col and no GEMM.
// To be included under an instruction set's pragma.
//
// Lane l of a vector is a channel, and what it is multiplied by is a filter of its own group: the
// gradients of all lanes lie in one vector of the pixel, whose permutation serves them at once, and
// all taps of the window. A GEMM per group would leave 12 of 16 lanes idle at 4 channels per group.
#pragma once

#include "cpu/conv2d/grouped_wgrad_plan.h"
#include "cpu/conv2d/vectors_of_channels.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/parallel.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

template <class Target>
class GroupedWgrad {
 public:
  using Vector = typename Target::template Vector<float>;
  using Type = typename Vector::Type;
  static constexpr int64_t kLanes = Vector::kLanes;

  explicit GroupedWgrad(const Conv2dProblem& problem)
      : p_(problem), plan_(grouped_wgrad_plan(problem, kLanes)) {}

  int64_t workspace(int threads) const {
    Carver count(nullptr);
    carve(count, worker_count(plan_.tasks(), threads));
    return count.bytes();
  }

  template <class T>
  void run(const T* input, const T* grad, T* weight, std::byte* workspace,
           const Parallel& parallel) const {
    const int64_t workers = worker_count(plan_.tasks(), parallel.threads());
    Carver carver(workspace);
    const Scratch all = carve(carver, workers);
    TaskQueue queue(plan_.tasks());
    parallel.for_each(workers, [&](int64_t worker) {
      const Scratch own{all.totals, all.sums + worker * plan_.sums,
                        all.planes + worker * planes_elements(),
                        all.grads + worker * grads_elements()};
      for (int64_t task = queue.take(); task >= 0; task = queue.take()) {
        run_task(task, input, grad, own);
      }
    });
    parallel.for_each(plan_.bundles, [&](int64_t bundle) { store(bundle, all.totals, weight); });
  }

 private:
  // Sums of this many running sums go into a total of their own level.
  static constexpr int64_t kPixelsPerSum = 16 * kLongestSum;
  // Filters at once: with 9 taps 18 sums, of 32 registers or 9 of 16.
  static constexpr int kMostFilters = kLanes == 16 ? 2 : 1;

  // Vectors past the end that a copy may overwrite.
  static constexpr int64_t kSlack = VectorsOfChannels<Target, float>::kSlack * kLanes;

  struct Scratch {
    float *totals, *sums, *planes, *grads;
  };

  int64_t planes_elements() const {
    return round_up(plan_.channel_vectors * plan_.plane_elements() + kSlack, 16);
  }
  int64_t grads_elements() const {
    return round_up(plan_.filter_vectors * plan_.grad_elements(p_) + kSlack, 16);
  }
  Scratch carve(Carver& carver, int64_t workers) const {
    Scratch scratch{};
    scratch.totals = carver.take<float>(plan_.tasks() * plan_.sums);
    scratch.sums = carver.take<float>(workers * plan_.sums);
    scratch.planes = carver.take<float>(workers * planes_elements());
    scratch.grads = carver.take<float>(workers * grads_elements());
    return scratch;
  }

  // The channels, or filters, that vector `vector` of a bundle holds.
  Range part_of_bundle(int64_t bundle, int64_t vector, int64_t a_group) const {
    const int64_t first_group = bundle * plan_.groups_a_bundle;
    const int64_t groups_left = p_.groups - first_group;
    const int64_t groups =
        groups_left < plan_.groups_a_bundle ? groups_left : plan_.groups_a_bundle;
    const int64_t left = groups * a_group - vector * kLanes;
    return {first_group * a_group + vector * kLanes, left < kLanes ? left : kLanes};
  }

  template <class T>
  void run_task(int64_t task, const T* input, const T* grad, const Scratch& own) const {
    const int64_t bundle = task % plan_.bundles, part = task / plan_.bundles;
    float* const total = own.totals + task * plan_.sums;
    fill(total, 0);
    fill(own.sums, 0);
    const EvenParts parts{plan_.blocks, 1, plan_.parts};
    int64_t pixels = 0;
    for (int64_t i = 0; i < parts.size(part); ++i) {
      const int64_t block = parts.begin(part) + i;
      const int64_t image = block / plan_.rows.parts, at = block % plan_.rows.parts;
      const Range rows{plan_.rows.begin(at), plan_.rows.size(at)};
      copy_block(bundle, rows, input + image * p_.input.n, grad + image * p_.output.n, own);
      sum_block(rows.size, own);
      pixels += rows.size * p_.Q;
      if (pixels >= kPixelsPerSum || i + 1 == parts.size(part)) {
        add_sums(own.sums, total);
        pixels = 0;
      }
    }
  }

  void fill(float* to, float value) const {
    for (int64_t i = 0; i < plan_.sums; ++i) to[i] = value;
  }
  void add_sums(float* sums, float* total) const {
    for (int64_t i = 0; i < plan_.sums; i += kLanes) {
      Vector::store(total + i, Vector::add(Vector::load(total + i), Vector::load(sums + i)));
      Vector::store(sums + i, Vector::zero());
    }
  }

  template <class T>
  void copy_block(int64_t bundle, Range rows, const T* input, const T* grad,
                  const Scratch& own) const {
    using Planes = VectorsOfChannels<Target, T>;
    const Range read{rows.begin * p_.stride.h - p_.pad.h,
                     (rows.size - 1) * p_.stride.h + (p_.R - 1) * p_.dilation.h + 1};
    for (int64_t v = 0; v < plan_.channel_vectors; ++v) {
      const Range channels = part_of_bundle(bundle, v, p_.group_in_channels());
      const Planes planes(input + channels.begin * p_.input.c, p_.input, channels.size, p_.H, p_.W);
      planes.copy(read, {-p_.pad.w, plan_.slab_columns}, own.planes + v * plan_.plane_elements());
    }
    for (int64_t v = 0; v < plan_.filter_vectors; ++v) {
      const Range filters = part_of_bundle(bundle, v, p_.group_out_channels());
      const Planes planes(grad + filters.begin * p_.output.c, p_.output, filters.size, p_.P, p_.Q);
      planes.copy(rows, {0, p_.Q}, own.grads + v * plan_.grad_elements(p_));
    }
  }

  // Pixels of the output and a block of the window's taps.
  struct Products {
    const float *x, *grad;
    int64_t rows, pixels;
    int64_t x_row, x_pixel, x_row_tap, x_column_tap, grad_row;
    const typename Vector::Index* filters;
    float* sums;
    int64_t filter_sums, row_tap_sums;
  };

  void sum_block(int64_t rows, const Scratch& own) const {
    const int64_t line = plan_.slab_columns * kLanes;
    const EvenParts pixels = EvenParts::at_most(p_.Q, kLongestSum, 1);
    const EvenParts bands = EvenParts::at_most(rows, kLongestSum / pixels.largest(), 1);
    Products to_do{};
    to_do.x_row = p_.stride.h * line;
    to_do.x_pixel = p_.stride.w * kLanes;
    to_do.x_row_tap = p_.dilation.h * line;
    to_do.x_column_tap = p_.dilation.w * kLanes;
    to_do.grad_row = p_.Q * kLanes;
    to_do.filter_sums = p_.R * p_.S * kLanes;
    to_do.row_tap_sums = p_.S * kLanes;
    for (int64_t v = 0; v < plan_.channel_vectors; ++v) {
      for (int64_t band = 0; band < bands.parts; ++band) {
        for (int64_t part = 0; part < pixels.parts; ++part) {
          to_do.rows = bands.size(band);
          to_do.pixels = pixels.size(part);
          to_do.grad = own.grads + bands.begin(band) * to_do.grad_row + pixels.begin(part) * kLanes;
          to_do.x = own.planes + v * plan_.plane_elements() + bands.begin(band) * to_do.x_row +
                    pixels.begin(part) * to_do.x_pixel;
          to_do.sums = own.sums + v * p_.group_out_channels() * to_do.filter_sums;
          sum_window(to_do);
        }
      }
    }
  }

  void sum_window(const Products& all) const {
    for (int64_t a = 0; a < plan_.row_taps.parts; ++a) {
      for (int64_t b = 0; b < plan_.column_taps.parts; ++b) {
        const int64_t r = plan_.row_taps.begin(a), s = plan_.column_taps.begin(b);
        Products part = all;
        part.x += r * all.x_row_tap + s * all.x_column_tap;
        part.sums += r * all.row_tap_sums + s * kLanes;
        sum_filters(part, kTable.at[plan_.row_taps.size(a) - 1][plan_.column_taps.size(b) - 1]);
      }
    }
  }

  using Kernel = void (*)(const Products&);
  using KernelsByFilters = Kernel[kMostFilters];

  void sum_filters(Products to_do, const KernelsByFilters& kernels) const {
    const bool several = plan_.groups_a_bundle > 1;
    const int64_t filters = p_.group_out_channels();
    const typename Vector::Index first = first_filters();
    typename Vector::Index lanes[kMostFilters];
    to_do.filters = lanes;
    // Those of one vector, then those of the next.
    for (int64_t begin = 0; begin < filters;) {
      const int64_t left = filters - begin;
      const int64_t end = several || left < kLanes ? filters : begin + kLanes;
      for (int64_t f = begin; f < end;) {
        const int64_t count = end - f < kMostFilters ? end - f : kMostFilters;
        for (int64_t i = 0; i < count; ++i) {
          lanes[i] = Vector::index_add(first, static_cast<int32_t>(f - begin + i));
        }
        kernels[count - 1](to_do);
        to_do.sums += count * to_do.filter_sums;
        f += count;
      }
      to_do.grad += plan_.grad_elements(p_);
      begin = end;
    }
  }

  // Where the lanes of a vector of channels find the gradient of their group's first filter, in the
  // vector of a bundle's filters.
  typename Vector::Index first_filters() const {
    alignas(64) int32_t lanes[kLanes] = {};
    for (int64_t l = 0; plan_.groups_a_bundle > 1 && l < kLanes; ++l) {
      lanes[l] =
          static_cast<int32_t>(l / p_.group_in_channels() * p_.group_out_channels() % kLanes);
    }
    return Vector::load_index(lanes);
  }

  template <int kRowTaps, int kColumnTaps, int kFilters>
  static void sum_pixels(const Products& to_do) {
    constexpr int kTaps = kRowTaps * kColumnTaps;
    Type sum[kTaps][kFilters];
    typename Vector::Index filters[kFilters];
    const char* x[kTaps];
#pragma GCC unroll 16
    for (int t = 0; t < kTaps; ++t) {
      x[t] = reinterpret_cast<const char*>(to_do.x + t / kColumnTaps * to_do.x_row_tap +
                                           t % kColumnTaps * to_do.x_column_tap);
#pragma GCC unroll 4
      for (int f = 0; f < kFilters; ++f) sum[t][f] = Vector::zero();
    }
#pragma GCC unroll 4
    for (int f = 0; f < kFilters; ++f) filters[f] = to_do.filters[f];
    const int64_t step = to_do.x_pixel * int64_t{sizeof(float)};
    int64_t row_offset = 0;
    const float* grad_row = to_do.grad;
    for (int64_t i = 0; i < to_do.rows; ++i) {
      int64_t offset = row_offset;
      const float* grad = grad_row;
      // One offset for all taps: a pointer each would be moved on by an instruction each.
      for (const float* const end = grad + to_do.pixels * kLanes; grad != end; grad += kLanes) {
        const Type at = Vector::load(grad);
        Type factor[kFilters];
#pragma GCC unroll 4
        for (int f = 0; f < kFilters; ++f) factor[f] = Vector::permute(at, filters[f]);
#pragma GCC unroll 16
        for (int t = 0; t < kTaps; ++t) {
          const Type value = Vector::load(reinterpret_cast<const float*>(x[t] + offset));
#pragma GCC unroll 4
          for (int f = 0; f < kFilters; ++f) {
            sum[t][f] = Vector::multiply_add(value, factor[f], sum[t][f]);
          }
        }
        offset += step;
        __asm__("" : "+r"(offset));
      }
      row_offset += to_do.x_row * int64_t{sizeof(float)};
      grad_row += to_do.grad_row;
    }
#pragma GCC unroll 16
    for (int t = 0; t < kTaps; ++t) {
#pragma GCC unroll 4
      for (int f = 0; f < kFilters; ++f) {
        float* const to = to_do.sums + f * to_do.filter_sums +
                          t / kColumnTaps * to_do.row_tap_sums + t % kColumnTaps * kLanes;
        Vector::store(to, Vector::add(Vector::load(to), sum[t][f]));
      }
    }
  }

  struct Table {
    KernelsByFilters at[3][3];
  };
  template <int kRowTaps, int kColumnTaps>
  static constexpr void fill_filters(Table& table) {
    table.at[kRowTaps - 1][kColumnTaps - 1][0] = sum_pixels<kRowTaps, kColumnTaps, 1>;
    if constexpr (kMostFilters > 1) {
      table.at[kRowTaps - 1][kColumnTaps - 1][1] = sum_pixels<kRowTaps, kColumnTaps, 2>;
    }
    if constexpr (kColumnTaps > 1)
      fill_filters<kRowTaps, kColumnTaps - 1>(table);
    else if constexpr (kRowTaps > 1)
      fill_filters<kRowTaps - 1, 3>(table);
  }
  static constexpr Table make_table() {
    Table table{};
    fill_filters<3, 3>(table);
    return table;
  }
  static const Table kTable;

  template <class T>
  void store(int64_t bundle, float* totals, T* weight) const {
    float* const total = totals + bundle * plan_.sums;
    for (int64_t part = 1; part < plan_.parts; ++part) {
      const float* const more = total + part * plan_.bundles * plan_.sums;
      for (int64_t i = 0; i < plan_.sums; ++i) total[i] += more[i];
    }
    const float* from = total;
    for (int64_t v = 0; v < plan_.channel_vectors; ++v) {
      const Range channels = part_of_bundle(bundle, v, p_.group_in_channels());
      T* lanes[kLanes];  // their weights for the first filter and tap
      for (int64_t l = 0; l < channels.size; ++l) {
        const int64_t channel = channels.begin + l, group = channel / p_.group_in_channels();
        lanes[l] = weight + group * p_.group_out_channels() * p_.weight.n +
                   channel % p_.group_in_channels() * p_.weight.c;
      }
      for (int64_t f = 0; f < p_.group_out_channels(); ++f) {
        for (int64_t r = 0; r < p_.R; ++r) {
          for (int64_t s = 0; s < p_.S; ++s, from += kLanes) {
            const int64_t at = f * p_.weight.n + r * p_.weight.h + s * p_.weight.w;
            for (int64_t l = 0; l < channels.size; ++l) lanes[l][at] = Storage<T>::store(from[l]);
          }
        }
      }
    }
  }

  Conv2dProblem p_;
  GroupedWgradPlan plan_;
};

template <class Target>
constexpr typename GroupedWgrad<Target>::Table GroupedWgrad<Target>::kTable = make_table();

}  // namespace fastconv::cpu
