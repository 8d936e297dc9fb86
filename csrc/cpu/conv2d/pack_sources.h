// What the convolutions multiply, as sources for the packing: im2col matrices read along pixels or
// along channels, and weights. To be included under an instruction set's pragma.
#pragma once

#include "cpu/conv2d/gather.h"
#include "cpu/conv2d/im2col.h"
#include "cpu/conv2d/in_place_pixels.h"
#include "cpu/conv2d/pixel_plan.h"
#include "cpu/dtype.h"
#include "cpu/gemm/packing.h"

namespace fastconv::cpu {

// to[i] = from[i], widened.
template <class Target, class T>
inline void widen_run(const T* from, PackedAs<Target, T>* to, int64_t count) {
  using Vector = typename Target::template Vector<PackedAs<Target, T>>;
  constexpr uint32_t kAll = first_lanes(Vector::kLanes);
  for (; count >= Vector::kLanes; count -= Vector::kLanes) {
    Vector::store_lanes(to, Vector::load_lanes(from, kAll), kAll);
    from += Vector::kLanes;
    to += Vector::kLanes;
  }
  if (count > 0) {
    const uint32_t rest = first_lanes(count);
    Vector::store_lanes(to, Vector::load_lanes(from, rest), rest);
  }
}

// to[i] = from[i * stride], widened.
template <class Target, class T>
inline void widen(const T* from, int64_t stride, PackedAs<Target, T>* to, int64_t count) {
  if (stride == 1) {
    widen_run<Target>(from, to, count);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = as_packed<PackedAs<Target, T>>(from[i * stride]);
  }
}

// Outer: the reduction index (channel and tap). Inner: pixels.
template <class Target, class T>
class PixelSource final : public PackSource<Target, PackedAs<Target, T>> {
 public:
  using Packed = PackedAs<Target, T>;
  using Vector = typename Target::template Vector<Packed>;
  using Shape = GemmShape<Target::kIsa, Packed>;

  PixelSource(const Im2col& matrix, int64_t most_pixels, Carver& carver)
      : matrix_(matrix),
        plan_(matrix, most_pixels, Shape::kTileColumns, carver),
        taps_(carver.take<Tap>(most_pixels > 0 ? Shape::kDepth : 0)),
        in_place_(matrix, 1, carver) {}

  void read_from(const T* image) { image_ = image; }

  // With one tap, whose channels are equally far apart, and pixels that are neighbours.
  int64_t stride_in_place() const override {
    const bool pixels_follow = matrix_.taps() == 1 && in_place_.pixel_stride() == 1 &&
                               (in_place_.joins_rows() || matrix_.grid_w >= Shape::kTileColumns);
    return std::is_same_v<T, Packed> && pixels_follow ? matrix_.strides.c : 0;
  }
  // Past the last column a vector reads what follows in memory, of other pixels, as far as the
  // image goes.
  PanelOfB<Packed> panel_in_place(int64_t begin, int64_t size, Range k) override {
    if constexpr (std::is_same_v<T, Packed>) {
      const int64_t pixel = in_place_.offset_of(begin, size);
      if (pixel < 0) return {};
      const int64_t stride = matrix_.strides.c;
      const int64_t first = pixel + in_place_.tap_offsets()[0] + k.begin * stride;
      const int64_t end = first + (k.size - 1) * stride + round_up(size, Shape::kLanes);
      if (end <= matrix_.last_offset() + 1) return {image_ + first, stride};
    }
    return {};
  }

  void pack(const PackBlock& block, Packed* to, const PackedLayout& layout) override {
    plan_.set(block.inner_begin, block.inner_size);
    list_taps(block.outer_begin, block.outer_size);
    for (int64_t panel = 0; panel < plan_.panels(); ++panel) {
      Packed* const to_panel = to + panel * layout.panel_stride;
      const int runs = plan_.run_count(panel);
      if (runs > 0 && plan_.lane_stride() == 2) {
        pack_lanes<2>(panel, runs, block.outer_size, to_panel, layout.outer_stride);
      } else if (runs > 0) {
        pack_lanes<1>(panel, runs, block.outer_size, to_panel, layout.outer_stride);
      } else {
        gather(panel, block.outer_size, to_panel, layout.outer_stride);
      }
    }
  }

 private:
  // One value of the reduction index: how far from the pixel it reads, and its row and column tap.
  struct Tap {
    int64_t offset;
    int32_t row, column;
  };

  void list_taps(int64_t begin, int64_t size) {
    const Im2col& m = matrix_;
    const int64_t row_stride = m.rows.offset_step * m.strides.h;
    const int64_t column_stride = m.columns.offset_step * m.strides.w;
    const int64_t origin = m.rows.offset * m.strides.h + m.columns.offset * m.strides.w;
    DepthIndex at = DepthIndex::at(m, begin);
    for (int64_t k = 0; k < size; ++k, at.advance(m)) {
      taps_[k] = {
          origin + at.channel * m.strides.c + at.row * row_stride + at.column * column_stride,
          static_cast<int32_t>(at.row), static_cast<int32_t>(at.column)};
    }
  }

  static uint32_t lanes_of(uint32_t panel_lanes, int vector) {
    return panel_lanes >> (vector * Shape::kLanes) & first_lanes(Shape::kLanes);
  }

  template <int kStride>
  void pack_lanes(int64_t panel, int runs, int64_t depth, Packed* to, int64_t to_stride) const {
    if (runs == 1) {
      pack_run<kStride>(panel, depth, to, to_stride);
    } else {
      pack_runs<kStride>(panel, depth, to, to_stride);
    }
  }

  template <int kStride>
  void pack_run(int64_t panel, int64_t depth, Packed* to, int64_t to_stride) const {
    const T* const from = image_ + plan_.runs(panel)->offset;
    const uint32_t* const row_masks = plan_.row_masks(panel);
    const uint32_t* const column_masks = plan_.column_masks(panel);
    const Tap* const taps = taps_;
    constexpr int kStep = Shape::kLanes * kStride;
    for (int64_t k = 0; k < depth; ++k, to += to_stride) {
      const uint32_t lanes = row_masks[taps[k].row] & column_masks[taps[k].column];
      const T* const from_tap = from + taps[k].offset;
#pragma GCC unroll 4
      for (int v = 0; v < Shape::kTileVectors; ++v) {
        Vector::store(to + v * Shape::kLanes,
                      load<kStride>(from_tap + v * kStep, lanes_of(lanes, v)));
        // The next panel's, into L2: every channel is on a page of its own, where no hardware
        // prefetcher sees it coming.
        __builtin_prefetch(from_tap + (Shape::kTileVectors + v) * kStep, 0, 2);
      }
    }
  }

  // The lanes of other runs load as zero, and no lane belongs to two.
  template <int kStride>
  void pack_runs(int64_t panel, int64_t depth, Packed* to, int64_t to_stride) const {
    const PixelPlan::Run* const runs = plan_.runs(panel);
    const int count = plan_.run_count(panel);
    const uint32_t* const row_masks = plan_.row_masks(panel);
    const uint32_t* const column_masks = plan_.column_masks(panel);
    constexpr int kStep = Shape::kLanes * kStride;
    for (int64_t k = 0; k < depth; ++k, to += to_stride) {
      const Tap& tap = taps_[k];
      const uint32_t lanes = row_masks[tap.row] & column_masks[tap.column];
#pragma GCC unroll 4
      for (int v = 0; v < Shape::kTileVectors; ++v) {
        typename Vector::Type x = Vector::zero();
        for (int r = 0; r < count; ++r) {
          const T* const from = image_ + (runs[r].offset + tap.offset + v * kStep);
          x = Vector::bit_or(x, load<kStride>(from, lanes_of(runs[r].lanes & lanes, v)));
        }
        Vector::store(to + v * Shape::kLanes, x);
      }
    }
  }

  template <int kStride>
  static typename Vector::Type load(const T* from, uint32_t lanes) {
    if constexpr (kStride == 2) {
      return Vector::load_every_other(from, lanes);
    } else {
      return Vector::load_lanes(from, lanes);
    }
  }

  void gather(int64_t panel, int64_t depth, Packed* to, int64_t to_stride) const {
    const int64_t* const offsets = plan_.lane_offsets(panel);
    const uint32_t* const row_masks = plan_.row_masks(panel);
    const uint32_t* const column_masks = plan_.column_masks(panel);
    for (int64_t k = 0; k < depth; ++k, to += to_stride) {
      const Tap& tap = taps_[k];
      const uint32_t lanes = row_masks[tap.row] & column_masks[tap.column];
#pragma GCC unroll 4
      for (int v = 0; v < Shape::kTileVectors; ++v) {
        Vector::store(
            to + v * Shape::kLanes,
            Vector::gather(image_ + tap.offset, offsets + v * Shape::kLanes, lanes_of(lanes, v)));
      }
    }
  }

  Im2col matrix_;
  const T* image_ = nullptr;
  PixelPlan plan_;
  Tap* taps_;
  InPlacePixels in_place_;
};

// to[i] = begin <= i < end ? from[i] : 0 for i < count, widened. Reads from[begin, end) alone.
template <class Target, class T>
inline void widen_inside(const T* from, int64_t begin, int64_t end, PackedAs<Target, T>* to,
                         int64_t count) {
  using Vector = typename Target::template Vector<PackedAs<Target, T>>;
  for (int64_t i = 0; i < count; i += Vector::kLanes) {
    const uint32_t before = begin > i ? first_lanes(begin - i) : 0;
    const uint32_t inside = end > i ? first_lanes(end - i) & ~before : 0;
    constexpr uint32_t kAll = first_lanes(Vector::kLanes);
    Vector::store_lanes(to + i, Vector::load_lanes(from + i, inside & kAll),
                        first_lanes(count - i) & kAll);
  }
}

// Outer: pixels. Inner: the reduction index, counted (row tap, column tap, channel), whose runs of
// channels lie together in channels_last images. Where the next column tap follows the last
// channel, a run is a whole row of the window: 21 floats instead of 7 times 3 in a 7x7 first layer.
template <class Target, class T>
class ChannelSource final : public PackSource<Target, PackedAs<Target, T>> {
 public:
  using Packed = PackedAs<Target, T>;
  using Shape = GemmShape<Target::kIsa, Packed>;

  // line: of pixels, for tiles to end with.
  ChannelSource(const Im2col& matrix, Carver& carver, int64_t line = 0)
      : matrix_(matrix),
        line_(line),
        taps_a_run_(matrix.strides.c == 1 && matrix.strides.w == matrix.channels &&
                            matrix.columns.offset_step == 1
                        ? matrix.columns.count
                        : 1),
        in_place_(matrix, taps_a_run_, carver) {}

  void read_from(const T* image) { image_ = image; }

  void pack(const PackBlock& block, Packed* to, const PackedLayout& layout) override {
    PixelIndex at = PixelIndex::at(matrix_, block.outer_begin);
    const DepthIndex first = DepthIndex::at(matrix_, block.inner_begin);
    Pixel pixels[kPixels];
    for (int64_t done = 0; done < block.outer_size; done += kPixels) {
      const int64_t left = block.outer_size - done;
      const int count = static_cast<int>(left < kPixels ? left : kPixels);
      for (int i = 0; i < count; ++i, at.advance(matrix_)) {
        const int64_t h = at.row * matrix_.step.h, w = at.column * matrix_.step.w;
        pixels[i] = {h, w,
                     image_ + (at.image * matrix_.strides.n + h * matrix_.strides.h +
                               w * matrix_.strides.w)};
      }
      pack_pixels(pixels, count, first, block.inner_size, to + done * layout.outer_stride, layout);
    }
  }

  TileOfA<Packed> in_place(int64_t begin, int64_t size) override {
    return rows_share_l1<T>(Shape::kTileRows, in_place_.pixel_stride())
               ? rows_in_memory(begin, size)
               : TileOfA<Packed>{};
  }
  TileOfA<Packed> rows_in_memory(int64_t begin, int64_t size) override {
    if constexpr (std::is_same_v<T, Packed>) {
      if (matrix_.strides.c != 1) return {};
      const int64_t offset = in_place_.offset_of(begin, size);
      if (offset < 0) return {};
      return {image_ + offset, in_place_.pixel_stride(), taps_a_run_ * matrix_.channels,
              in_place_.tap_offsets()};
    }
    return {};
  }

  int64_t line() const override { return line_; }

  // With several taps most of a tile has been read by the tiles before it.
  RowsAhead ahead(int64_t begin, int64_t size, Range k, int64_t steps) override {
    if (matrix_.taps() > 1 || matrix_.strides.c != 1 || !in_place_.joins_rows()) return {};
    const int64_t offset = in_place_.offset_of(begin, size);
    if (offset < 0) return {};
    constexpr int64_t kBytes = sizeof(T);
    return {image_ + offset + in_place_.tap_offsets()[0] + k.begin, size, k.size * kBytes,
            in_place_.pixel_stride() * kBytes, steps};
  }

 private:
  // Pixels that share the work of finding a run.
  static constexpr int kPixels = 16;
  struct Pixel {
    int64_t h, w;
    const T* origin;  // of its window's first tap, were there no padding
  };

  void pack_pixels(const Pixel* pixels, int count, DepthIndex at, int64_t size, Packed* to,
                   const PackedLayout& layout) const {
    const Im2col& m = matrix_;
    const bool contiguous = layout.panel_stride == Shape::kTileColumns;
    for (int64_t done = 0; done < size;) {
      // The run starts at this element of its row of taps, or of its one tap.
      const int64_t tap = taps_a_run_ == 1 ? at.column : 0;
      const int64_t begin = (at.column - tap) * m.channels + at.channel;
      int64_t run = taps_a_run_ * m.channels - begin;
      if (run > size - done) run = size - done;
      const int64_t in_panel = done % Shape::kTileColumns;
      if (!contiguous && run > Shape::kTileColumns - in_panel) run = Shape::kTileColumns - in_panel;
      pack_run(pixels, count, at.row, tap, begin, run,
               to + done / Shape::kTileColumns * layout.panel_stride + in_panel,
               layout.outer_stride);
      done += run;
      const int64_t last = begin + run - 1;
      at.column = tap + last / m.channels;
      at.channel = last % m.channels;
      at.advance(m);
    }
  }

  void pack_run(const Pixel* pixels, int count, int64_t row, int64_t tap, int64_t begin,
                int64_t run, Packed* to, int64_t to_stride) const {
    const Im2col& m = matrix_;
    const int64_t h = m.rows.offset + row * m.rows.offset_step;
    const int64_t w = m.columns.offset + tap * m.columns.offset_step;
    const int64_t offset = begin * m.strides.c + h * m.strides.h + w * m.strides.w;
    const int64_t reach = taps_a_run_ - 1;
    for (int i = 0; i < count; ++i, to += to_stride) {
      const T* const from = pixels[i].origin + offset;
      const int64_t x = pixels[i].w + w;
      const bool row_inside =
          static_cast<uint64_t>(pixels[i].h + h) < static_cast<uint64_t>(m.height);
      if (row_inside && x >= 0 && x + reach < m.width) {
        widen<Target>(from, m.strides.c, to, run);
      } else if (row_inside && reach != 0) {
        // Of the row of taps, those in columns 0 to width - 1.
        widen_inside<Target>(from, -x * m.channels - begin, (m.width - x) * m.channels - begin, to,
                             run);
      } else {
        for (int64_t c = 0; c < run; ++c) to[c] = Packed{};
      }
    }
  }

  Im2col matrix_;
  int64_t line_, taps_a_run_;
  InPlacePixels in_place_;
  const T* image_ = nullptr;
};

// filters_inner: inner are filters and outer the reduction; otherwise the other way round.
template <class Target, class T>
class WeightSource final : public PackSource<Target, PackedAs<Target, T>> {
 public:
  using Packed = PackedAs<Target, T>;
  using Shape = GemmShape<Target::kIsa, Packed>;

  WeightSource(const Im2col& taps, const WeightMatrix& strides, int64_t filters, bool filters_inner)
      : taps_(taps), strides_(strides), filters_(filters), filters_inner_(filters_inner) {
    if (filters_inner || taps.depth() == 0) return;
    strides.for_each_run(taps, DepthIndex{}, taps.depth(),
                         [&](int64_t, int64_t run, int64_t offset, int64_t stride) {
                           filters_are_rows_ = run == taps.depth() && stride == 1;
                           first_element_ = offset;
                         });
  }

  void read_from(const T* weight) { weight_ = weight; }

  void pack(const PackBlock& block, Packed* to, const PackedLayout& layout) override {
    if (filters_inner_) {
      pack_filters(block, to, layout);
    } else {
      pack_reduction(block, to, layout);
    }
  }

  TileOfA<Packed> in_place(int64_t begin, int64_t size) override {
    return rows_share_l1<T>(Shape::kTileRows, strides_.filter_stride) ? rows_in_memory(begin, size)
                                                                      : TileOfA<Packed>{};
  }
  TileOfA<Packed> rows_in_memory(int64_t begin, int64_t /*size*/) override {
    if constexpr (std::is_same_v<T, Packed>) {
      if (filters_are_rows_) {
        return TileOfA<T>::of_one_segment(weight_ + first_element_ + begin * strides_.filter_stride,
                                          strides_.filter_stride);
      }
    }
    return {};
  }

  // Channels of one tap, equally far apart.
  int64_t stride_in_place() const override {
    const bool channels_follow = taps_.channel_innermost || taps_.taps() == 1;
    return std::is_same_v<T, Packed> && filters_inner_ && channels_follow ? strides_.channel_stride
                                                                          : 0;
  }
  PanelOfB<Packed> panel_in_place(int64_t begin, int64_t size, Range k) override {
    if constexpr (std::is_same_v<T, Packed>) {
      const DepthIndex first = DepthIndex::at(taps_, k.begin);
      const bool whole_vectors =
          begin + round_up(size, Shape::kLanes) <= filters_ || size % Shape::kLanes == 0;
      if (!whole_vectors || first.channel + k.size > taps_.channels) return {};
      return {weight_ + strides_.offset(taps_, first) + begin, strides_.channel_stride};
    }
    return {};
  }

 private:
  void pack_filters(const PackBlock& block, Packed* to, const PackedLayout& layout) const {
    const int64_t stride = strides_.filter_stride;
    DepthIndex at = DepthIndex::at(taps_, block.outer_begin);
    for (int64_t o = 0; o < block.outer_size; ++o, at.advance(taps_)) {
      const T* const from = weight_ + (strides_.offset(taps_, at) + block.inner_begin * stride);
      Packed* const row = to + o * layout.outer_stride;
      // Each row is on a page of its own: no hardware prefetcher sees the next tile coming.
      __builtin_prefetch(from + block.inner_size * stride);
      for (int64_t i = 0; i < block.inner_size; i += Shape::kTileColumns) {
        const int64_t left = block.inner_size - i;
        widen<Target>(from + i * stride, stride,
                      row + i / Shape::kTileColumns * layout.panel_stride,
                      left < Shape::kTileColumns ? left : Shape::kTileColumns);
      }
    }
  }

  // Always contiguous at the destination: a tile of A, or the staging of B. Runs outside, filters
  // inside: where the taps of a channel are together, the next filter's are close by.
  void pack_reduction(const PackBlock& block, Packed* to, const PackedLayout& layout) const {
    const T* const filters = weight_ + block.outer_begin * strides_.filter_stride;
    strides_.for_each_run(taps_, DepthIndex::at(taps_, block.inner_begin), block.inner_size,
                          [&](int64_t done, int64_t run, int64_t offset, int64_t stride) {
                            const T* from = filters + offset;
                            Packed* to_run = to + done;
                            for (int64_t o = 0; o < block.outer_size; ++o) {
                              widen<Target>(from, stride, to_run, run);
                              from += strides_.filter_stride;
                              to_run += layout.outer_stride;
                            }
                          });
  }

  Im2col taps_;
  WeightMatrix strides_;
  int64_t filters_;
  const T* weight_ = nullptr;
  bool filters_inner_;
  bool filters_are_rows_ = false;  // of neighbours, in the order of the reduction
  int64_t first_element_ = 0;
};

}  // namespace fastconv::cpu
