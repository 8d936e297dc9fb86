// What the convolutions multiply, as sources for the packing: im2col matrices read along pixels or
// along channels, and weights. To be included under an instruction set's pragma.
#pragma once

#include "cpu/conv2d/gather.h"
#include "cpu/conv2d/im2col.h"
#include "cpu/conv2d/pixel_plan.h"
#include "cpu/dtype.h"
#include "cpu/gemm/packing.h"

namespace fastconv::cpu {

// to[i] = from[i * stride], widened.
template <class Target, class T>
void widen(const T* from, int64_t stride, typename Storage<T>::Accumulator* to, int64_t count) {
  using Vector = typename Target::template Vector<typename Storage<T>::Accumulator>;
  if (stride != 1) {
    for (int64_t i = 0; i < count; ++i) to[i] = Storage<T>::load(from[i * stride]);
    return;
  }
  constexpr uint32_t kAll = first_lanes(Vector::kLanes);
  int64_t i = 0;
  for (; i + Vector::kLanes <= count; i += Vector::kLanes) {
    Vector::store_lanes(to + i, Vector::load_lanes(from + i, kAll), kAll);
  }
  if (i < count) {
    const uint32_t rest = first_lanes(count - i);
    Vector::store_lanes(to + i, Vector::load_lanes(from + i, rest), rest);
  }
}

// Outer: the reduction index (channel and tap). Inner: pixels.
template <class Target, class T>
class PixelSource final : public PackSource<Target, typename Storage<T>::Accumulator> {
 public:
  using Accumulator = typename Storage<T>::Accumulator;
  using Vector = typename Target::template Vector<Accumulator>;
  using Shape = GemmShape<Target::kIsa, Accumulator>;

  PixelSource(const Im2col& matrix, int64_t most_pixels, Carver& carver)
      : matrix_(matrix), plan_(matrix_, most_pixels, Vector::kLanes, carver) {}

  void read_from(const T* image) { image_ = image; }

  void pack(const PackBlock& block, Accumulator* to, const PackedLayout& layout) override {
    plan_.set(block.inner_begin, block.inner_size);
    DepthIndex at = DepthIndex::at(matrix_, block.outer_begin);
    for (int64_t o = 0; o < block.outer_size; ++o, at.advance(matrix_)) {
      pack_row(at, to + o * layout.outer_stride, layout.panel_stride);
    }
  }

 private:
  void pack_row(const DepthIndex& at, Accumulator* to, int64_t panel_stride) const {
    const Im2col& m = matrix_;
    const int64_t h = m.rows.offset + at.row * m.rows.offset_step;
    const int64_t w = m.columns.offset + at.column * m.columns.offset_step;
    const int64_t tap = at.channel * m.strides.c + h * m.strides.h + w * m.strides.w;
    const uint32_t* const row_mask = plan_.row_masks(at.row);
    const uint32_t* const column_mask = plan_.column_masks(at.column);
    const int64_t vectors = plan_.vectors();
    for (int64_t v = 0; v < vectors; ++v) {
      const uint32_t lanes = row_mask[v] & column_mask[v];
      Accumulator* const at_vector =
          to + v / Shape::kTileVectors * panel_stride + v % Shape::kTileVectors * Shape::kLanes;
      load_vector(v, tap, lanes, at_vector);
    }
  }

  void load_vector(int64_t v, int64_t tap, uint32_t lanes, Accumulator* to) const {
    const int runs = plan_.run_count(v);
    const PixelPlan::Run* const run = plan_.runs(v);
    if (runs == 1) {
      Vector::store(to, Vector::load_lanes(image_ + (run->offset + tap), lanes));
    } else if (runs > 1) {
      typename Vector::Type x =
          Vector::load_lanes(image_ + (run->offset + tap), run->lanes & lanes);
      for (int r = 1; r < runs; ++r) {
        // The lanes of other runs load as zero, and no lane belongs to two.
        x = Vector::bit_or(
            x, Vector::load_lanes(image_ + (run[r].offset + tap), run[r].lanes & lanes));
      }
      Vector::store(to, x);
    } else {
      const int64_t* const offsets = plan_.lane_offsets(v);
      for (int l = 0; l < Vector::kLanes; ++l) {
        to[l] = lanes >> l & 1u ? Storage<T>::load(image_[offsets[l] + tap]) : Accumulator{0};
      }
    }
  }

  Im2col matrix_;
  const T* image_ = nullptr;
  PixelPlan plan_;
};

// Outer: pixels. Inner: the reduction index, counted (row tap, column tap, channel), whose runs of
// channels lie together in channels_last images.
template <class Target, class T>
class ChannelSource final : public PackSource<Target, typename Storage<T>::Accumulator> {
 public:
  using Accumulator = typename Storage<T>::Accumulator;
  using Shape = GemmShape<Target::kIsa, Accumulator>;

  explicit ChannelSource(const Im2col& matrix) : matrix_(matrix) {}

  void read_from(const T* image) { image_ = image; }

  void pack(const PackBlock& block, Accumulator* to, const PackedLayout& layout) override {
    PixelIndex pixel = PixelIndex::at(matrix_, block.outer_begin);
    const DepthIndex first = DepthIndex::at(matrix_, block.inner_begin);
    for (int64_t o = 0; o < block.outer_size; ++o, pixel.advance(matrix_)) {
      pack_pixel(pixel, first, block.inner_size, to + o * layout.outer_stride, layout.panel_stride);
    }
  }

 private:
  void pack_pixel(const PixelIndex& pixel, DepthIndex at, int64_t size, Accumulator* to,
                  int64_t panel_stride) const {
    const Im2col& m = matrix_;
    const bool contiguous = panel_stride == Shape::kTileColumns;
    for (int64_t done = 0; done < size;) {
      const int64_t h = pixel.row * m.step.h + m.rows.offset + at.row * m.rows.offset_step;
      const int64_t w =
          pixel.column * m.step.w + m.columns.offset + at.column * m.columns.offset_step;
      const bool inside = h >= 0 && h < m.height && w >= 0 && w < m.width;
      int64_t run = size - done < m.channels - at.channel ? size - done : m.channels - at.channel;
      const int64_t in_panel = done % Shape::kTileColumns;
      if (!contiguous && run > Shape::kTileColumns - in_panel) run = Shape::kTileColumns - in_panel;
      Accumulator* const at_run = to + done / Shape::kTileColumns * panel_stride + in_panel;
      if (inside) {
        const int64_t offset = pixel.image * m.strides.n + at.channel * m.strides.c +
                               h * m.strides.h + w * m.strides.w;
        widen<Target>(image_ + offset, m.strides.c, at_run, run);
      } else {
        for (int64_t i = 0; i < run; ++i) at_run[i] = 0;
      }
      done += run;
      at.channel += run - 1;
      at.advance(m);
    }
  }

  Im2col matrix_;
  const T* image_ = nullptr;
};

// filters_inner: inner are filters and outer the reduction; otherwise the other way round.
template <class Target, class T>
class WeightSource final : public PackSource<Target, typename Storage<T>::Accumulator> {
 public:
  using Accumulator = typename Storage<T>::Accumulator;
  using Shape = GemmShape<Target::kIsa, Accumulator>;

  WeightSource(const Im2col& taps, const WeightMatrix& strides, bool filters_inner)
      : taps_(taps), strides_(strides), filters_inner_(filters_inner) {}

  void read_from(const T* weight) { weight_ = weight; }

  void pack(const PackBlock& block, Accumulator* to, const PackedLayout& layout) override {
    if (filters_inner_) {
      pack_filters(block, to, layout);
    } else {
      pack_reduction(block, to, layout);
    }
  }

 private:
  void pack_filters(const PackBlock& block, Accumulator* to, const PackedLayout& layout) const {
    const int64_t stride = strides_.filter_stride;
    DepthIndex at = DepthIndex::at(taps_, block.outer_begin);
    for (int64_t o = 0; o < block.outer_size; ++o, at.advance(taps_)) {
      const T* const from = weight_ + (strides_.offset(taps_, at) + block.inner_begin * stride);
      Accumulator* const row = to + o * layout.outer_stride;
      for (int64_t i = 0; i < block.inner_size; i += Shape::kTileColumns) {
        const int64_t left = block.inner_size - i;
        widen<Target>(from + i * stride, stride,
                      row + i / Shape::kTileColumns * layout.panel_stride,
                      left < Shape::kTileColumns ? left : Shape::kTileColumns);
      }
    }
  }

  // Always contiguous at the destination: a tile of A, or the staging of B.
  void pack_reduction(const PackBlock& block, Accumulator* to, const PackedLayout& layout) const {
    for (int64_t o = 0; o < block.outer_size; ++o) {
      const T* const filter = weight_ + (block.outer_begin + o) * strides_.filter_stride;
      Accumulator* const row = to + o * layout.outer_stride;
      strides_.for_each_run(taps_, block.inner_begin, block.inner_size,
                            [&](int64_t done, int64_t run, int64_t offset, int64_t stride) {
                              widen<Target>(filter + offset, stride, row + done, run);
                            });
    }
  }

  Im2col taps_;
  WeightMatrix strides_;
  const T* weight_ = nullptr;
  bool filters_inner_;
};

}  // namespace fastconv::cpu
