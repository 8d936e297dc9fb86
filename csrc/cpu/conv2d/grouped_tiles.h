// Grouped convolution of few channels on AMX tiles, fprop and dgrad, with no im2col. To be included
// under the AVX-512 pragma.
//
// A group of 4 channels would fill an eighth of a step of the reduction. So the groups of a bundle
// share it: 32 neighbouring channels against 32 neighbouring filters, the weights zero where the
// groups differ. Groups of 4 so take eight times the products, in tiles that form sixteen times
// as many a cycle as vectors do, and the channels of a pixel are read as they lie, for every tap
// from the same copy.
#pragma once

#include "cpu/amx/beside_products.h"
#include "cpu/amx/terms_of_dtype.h"
#include "cpu/amx/tile_product.h"
#include "cpu/conv2d/gather.h"
#include "cpu/conv2d/grouped_tiles_plan.h"
#include "cpu/conv2d/store_pixels.h"
#include "cpu/conv2d/vectors_of_channels.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/largest.h"
#include "cpu/parallel.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

template <class Target, class T>
class GroupedTiles {
 public:
  GroupedTiles(const Gather& gather, int threads)
      : g_(gather), plan_(grouped_tiles_plan(gather, kTerms, threads)) {}

  int64_t weight_bytes() const { return plan_.bundles * plan_.panels * g_.x.taps() * kStepBytes; }

  // For each panel of filters and each tap: the tiles of 32 channels.
  void pack(const T* weight, std::byte* packed, const Parallel& parallel) const {
    parallel.for_each(plan_.bundles * plan_.panels, [&](int64_t panel) {
      std::byte* to = packed + panel * g_.x.taps() * kStepBytes;
      for (int64_t tap = 0; tap < g_.x.taps(); ++tap, to += kStepBytes) {
        alignas(64) float block[kAmxStep * kWidth] = {};
        fill_block(panel, tap, weight, block);
        for (int half = 0; half < 2; ++half) {
          split_pairs<typename Target::Terms, kTerms>(block + half * 16, kWidth, kAmxStep, to,
                                                      half);
        }
      }
    });
  }

  // Without the weights, for as many threads as may come.
  int64_t workspace(int threads) const {
    return worker_count(plan_.tasks(g_), threads) * scratch_bytes();
  }

  // Returns the bits of the largest sum; 0 where rows are joined: between them lie sums that are no
  // outputs, and which ones depends on how many tasks there are.
  uint32_t run(const T* x, const std::byte* packed, const T* bias, T* y, std::byte* workspace,
               const Parallel& parallel) const {
    Largest largest_sum;
    TaskQueue queue(plan_.tasks(g_));
    parallel.for_each(worker_count(plan_.tasks(g_), parallel.threads()), [&](int64_t worker) {
      Carver carver(workspace + worker * scratch_bytes());
      SumsSeen seen;
      const Scratch scratch = carve(carver, plan_.joins_rows ? nullptr : &seen);
      const TileScope<typename Target::Tiles> scope;
      for (int64_t task = queue.take(); task >= 0; task = queue.take()) {
        run_task(task, x, packed, bias, y, scratch);
      }
      largest_sum.see(seen.largest());
    });
    return largest_sum.value();
  }

 private:
  using Vector = Avx512::Vector<float>;
  using Planes = VectorsOfChannels<Avx512, T>;
  static constexpr int kTerms = Target::kTerms;
  static constexpr int64_t kWidth = 2 * kAmxTileRows;  // filters of a panel, pixels of a tile
  static constexpr int64_t kStepBytes = kTerms * 2 * kAmxTileBytes;
  static constexpr int64_t kPixelBytes = kAmxStep * 2;
  // Taps of one running sum: of a step's products at most 32 are of one group.
  static constexpr int64_t kTapsASum =
      GemmShape<Isa::amx, std::conditional_t<kTerms == 1, T, float>>::kDepth / kAmxStep;
  static_assert(kTapsASum <= StepsOfA::kMost);

  // line: one row of the slab in floats. sums: of one tile, and what waits for its other taps.
  struct Scratch {
    std::byte* slab;
    float *line, *sum, *total;
    SumsSeen* seen;
  };
  // A tile may read as many pixels past the slab as it has rows.
  int64_t plane_bytes() const {
    return (plan_.slab_pixels() + kWidth * plan_.pixel_step) * kPixelBytes;
  }
  Scratch carve(Carver& carver, SumsSeen* seen) const {
    std::byte* const slab = carver.take<std::byte>(kTerms * plane_bytes());
    float* const line = carver.take<float>((plan_.slab_columns + Planes::kSlack) * kAmxStep);
    float* const sum = carver.take<float>(kWidth * kWidth);
    // Transposed in squares, which may begin anywhere.
    return {slab, line, sum, carver.take<float>((kWidth + 16) * kWidth), seen};
  }
  int64_t scratch_bytes() const {
    Carver count(nullptr);
    carve(count, nullptr);
    return count.bytes();
  }

  // block[channel of the bundle][filter of the panel].
  void fill_block(int64_t panel, int64_t tap, const T* weight, float* block) const {
    const int64_t first_group = panel / plan_.panels * plan_.groups_a_bundle;
    const Im2col& m = g_.x;
    const int64_t row = tap / m.columns.count, column = tap % m.columns.count;
    const int64_t offset = g_.weight.offset(m, {0, row, column});
    const int64_t step = g_.weight.offset(m, {1, row, column}) - offset;
    for (int64_t i = 0; i < kWidth;) {
      const int64_t filter = panel % plan_.panels * kWidth + i;
      const int64_t group_in_bundle = filter / g_.filters, in_group = filter % g_.filters;
      const int64_t group = first_group + group_in_bundle;
      if (group_in_bundle >= plan_.groups_a_bundle || group >= g_.groups) return;
      const int64_t left = g_.filters - in_group;
      const int64_t count = left < kWidth - i ? left : kWidth - i;
      copy_weights(weight + group * g_.w_group + in_group * g_.weight.filter_stride + offset, step,
                   count, block + group_in_bundle * m.channels * kWidth + i);
      i += count;
    }
  }

  // Of one group and tap.
  void copy_weights(const T* from, int64_t step, int64_t filters, float* to) const {
    const int64_t channels = g_.x.channels, filter_step = g_.weight.filter_stride;
    if (filter_step == 1) {
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t f = 0; f < filters; f += 16) {
          const uint32_t lanes = first_lanes(filters - f) & first_lanes(16);
          Vector::store_lanes(to + c * kWidth + f, Vector::load_lanes(from + c * step + f, lanes),
                              lanes);
        }
      }
      return;
    }
    // Whole vectors of filters leave room for whole vectors of channels.
    if (step == 1 && filters % 16 == 0) {
      alignas(64) float square[16 * 16];
      for (int64_t f = 0; f < filters; f += 16) {
        for (int64_t c = 0; c < channels; c += 16) {
          const uint32_t lanes = first_lanes(channels - c) & first_lanes(16);
          for (int64_t i = 0; i < 16; ++i) {
            Vector::store(square + i * 16,
                          Vector::load_lanes(from + (f + i) * filter_step + c, lanes));
          }
          Vector::transpose(square, 16, to + c * kWidth + f, kWidth);
        }
      }
      return;
    }
    for (int64_t f = 0; f < filters; ++f) {
      for (int64_t c = 0; c < channels; ++c) {
        to[c * kWidth + f] = Storage<T>::load(from[f * filter_step + c * step]);
      }
    }
  }

  void run_task(int64_t task, const T* x, const std::byte* packed, const T* bias, T* y,
                const Scratch& scratch) const {
    const int64_t bundle = task % plan_.bundles, block = task / plan_.bundles;
    const int64_t image = block / plan_.rows.parts, part = block % plan_.rows.parts;
    const Range rows{plan_.rows.begin(part), plan_.rows.size(part)};
    const int64_t group = bundle * plan_.groups_a_bundle, left = g_.groups - group;
    const int64_t groups = left < plan_.groups_a_bundle ? left : plan_.groups_a_bundle;
    copy_slab(x + image * g_.x.strides.n + group * g_.x_group, groups * g_.x.channels, rows,
              scratch);
    for (int64_t p = 0; p < plan_.panels; ++p) {
      const int64_t filters = groups * g_.filters - p * kWidth;
      if (filters <= 0) break;
      const int64_t filter = group * g_.filters + p * kWidth;
      alignas(64) float start[kWidth] = {};
      for (int64_t f = 0; bias != nullptr && f < kWidth && f < filters; ++f) {
        start[f] = Storage<T>::load(bias[filter + f]);
      }
      const PartsOfSteps parts{{channels_of_filters(g_, plan_, p * kWidth),
                                channels_of_filters(g_, plan_, p * kWidth + kAmxTileRows)}};
      const Panel panel{packed + (bundle * plan_.panels + p) * g_.x.taps() * kStepBytes, parts,
                        start, filters < kWidth ? filters : kWidth,
                        y + g_.y_offset + image * g_.y.n + rows.begin * g_.y.h + filter * g_.y.c};
      convolve(panel, rows.size, scratch);
    }
  }

  // Row by row and column by column as the taps read them, the terms of 32 channels for each pixel,
  // zero outside the image and past the last channel.
  void copy_slab(const T* x, int64_t channels, Range rows, const Scratch& scratch) const {
    const Im2col& m = g_.x;
    const Range columns{reach_of(m.columns).low, plan_.slab_columns};
    const int64_t first_row = rows.begin * m.step.h + reach_of(m.rows).low;
    const int64_t count =
        (rows.size - 1) * m.step.h + plan_.slab_rows - (plan_.rows.largest() - 1) * m.step.h;
    if constexpr (std::is_same_v<T, bfloat16>) {
      if (m.strides.c == 1) {
        copy_pixels(x, channels, {first_row, count}, columns, scratch.slab);
        return;
      }
    }
    if (channels <= 16) clear_second_half(scratch.line);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t c = 0; c < channels; c += 16) {
        Planes(x + c * m.strides.c, m.strides, channels - c, m.height, m.width)
            .copy({first_row + i, 1}, columns, scratch.line + c, kAmxStep);
      }
      std::byte* const to = scratch.slab + i * plan_.slab_columns * kPixelBytes;
      for (int64_t w = 0; w < plan_.slab_columns; ++w) {
        __m512 first = Vector::load(scratch.line + w * kAmxStep);
        __m512 second = Vector::load(scratch.line + w * kAmxStep + 16);
#pragma GCC unroll 3
        for (int term = 0; term < kTerms; ++term) {
          _mm512_store_si512(to + term * plane_bytes() + w * kPixelBytes,
                             Target::Terms::take_row(first, second));
        }
      }
    }
  }
  // bfloat16 whose channels are neighbours need no turning and no splitting.
  void copy_pixels(const T* x, int64_t channels, Range rows, Range columns, std::byte* to) const {
    const Im2col& m = g_.x;
    const auto lanes = static_cast<__mmask32>(first_lanes(channels));
    for (int64_t h = rows.begin; h < rows.begin + rows.size; ++h) {
      const bool row_inside = h >= 0 && h < m.height;
      for (int64_t i = 0; i < columns.size; ++i, to += kPixelBytes) {
        const int64_t w = columns.begin + i;
        if (!row_inside || w < 0 || w >= m.width) {
          _mm512_store_si512(to, _mm512_setzero_si512());
          continue;
        }
        const T* const from = x + h * m.strides.h + w * m.strides.w;
        _mm512_store_si512(to, _mm512_maskz_loadu_epi16(lanes, from));
        // Pixels are too far apart for the hardware to see the next ones coming.
        __builtin_prefetch(from + 16 * m.strides.w);
      }
    }
  }
  void clear_second_half(float* line) const {
    for (int64_t w = 0; w < plan_.slab_columns; ++w) {
      Vector::store(line + w * kAmxStep + 16, Vector::zero());
    }
  }

  struct Panel {
    const std::byte* weight;
    PartsOfSteps parts;
    const float* start;  // the bias, or zeros
    int64_t filters;
    T* y;  // of the first row of the block
  };

  void convolve(const Panel& panel, int64_t rows, const Scratch& scratch) const {
    const int64_t width = g_.x.grid_w;
    if (plan_.joins_rows) {
      const int64_t line = plan_.slab_columns, count = (rows - 1) * line + width;
      for (int64_t at = 0; at < count; at += kWidth) {
        const int64_t size = count - at < kWidth ? count - at : kWidth;
        const float* const total = sum_tile(panel, at, size, scratch);
        for (int64_t p = 0; p < size;) {
          const int64_t row = (at + p) / line, column = (at + p) % line;
          const int64_t next = line - column < size - p ? line - column : size - p;
          const int64_t inside = width - column < next ? width - column : next;
          if (inside > 0) store(panel, total + p * kWidth, row, column, inside);
          p += next;
        }
      }
      return;
    }
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t from = r * g_.x.step.h * plan_.slab_columns;
      for (int64_t q = 0; q < width; q += kWidth) {
        const int64_t size = width - q < kWidth ? width - q : kWidth;
        store(panel, sum_tile(panel, from + q * plan_.pixel_step, size, scratch), r, q, size);
      }
    }
  }

  // Up to 32 pixels of the grid with all filters of a panel: [pixel][filter]. from: the pixel of
  // the slab that the first one's window begins at.
  const float* sum_tile(const Panel& panel, int64_t from, int64_t pixels,
                        const Scratch& scratch) const {
    const Im2col& m = g_.x;
    const int64_t row_bytes = plan_.pixel_step * kPixelBytes;
    StepsOfA a{{}, row_bytes, kAmxTileRows * row_bytes, plane_bytes()};
    const std::byte* weight = panel.weight;
    bool waiting = false;
    int64_t steps = 0;
    for (int64_t r = 0, tap = 0; r < m.rows.count; ++r) {
      const int64_t row = m.rows.offset + r * m.rows.offset_step - reach_of(m.rows).low;
      for (int64_t s = 0; s < m.columns.count; ++s) {
        const int64_t column =
            m.columns.offset + s * m.columns.offset_step - reach_of(m.columns).low;
        a.steps[steps++] = scratch.slab + (from + row * plan_.slab_columns + column) * kPixelBytes;
        if (++tap < m.taps() && steps < kTapsASum) continue;
        // Nothing is done beside these: the weight is in L1, and so few products end before the
        // sum of the last tile would be moved (1.1 times the time).
        const Fetch nothing;
        multiply_tiles<Target>(pixels, panel.filters, steps * kAmxStep, panel.parts, a, weight,
                               nothing, scratch.sum, kWidth);
        MoveOfSum<typename Target::Terms, float>(
            scratch.sum, kWidth, pixels, panel.filters, waiting ? scratch.total : panel.start,
            waiting ? kWidth : 0, scratch.total, kWidth, scratch.seen)
            .finish();
        weight += steps * kStepBytes;
        waiting = true;
        steps = 0;
      }
    }
    return scratch.total;
  }

  void store(const Panel& panel, const float* sums, int64_t row, int64_t column,
             int64_t pixels) const {
    T* const to = panel.y + row * g_.y.h + column * g_.y.w;
    for (int64_t f = 0; f < panel.filters; f += 16) {
      const int64_t left = panel.filters - f;
      store_pixels<Avx512>(sums + f, kWidth, pixels, left < 16 ? left : 16, to + f * g_.y.c, g_.y.w,
                           g_.y.c);
    }
  }

  Gather g_;
  GroupedTilesPlan plan_;
};

}  // namespace fastconv::cpu
