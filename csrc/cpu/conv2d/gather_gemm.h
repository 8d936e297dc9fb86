// fprop and dgrad by GEMM, im2col done inside the packing. To be included under an instruction
// set's pragma.
#pragma once

#include <algorithm>
#include <type_traits>

#include "cpu/conv2d/channels_innermost.h"
#include "cpu/conv2d/gather.h"
#include "cpu/conv2d/inside_gemm.h"
#include "cpu/conv2d/inside_taps.h"
#include "cpu/conv2d/pack_sources.h"
#include "cpu/conv2d/partition.h"
#include "cpu/conv2d/store_rows.h"
#include "cpu/conv2d/weight_panels.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/conv2d/zero_borders.h"
#include "cpu/gemm/frame.h"
#include "cpu/largest.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

template <class Target, class T>
class GatherGemm {
 public:
  using Accumulator = typename Storage<T>::Accumulator;
  using Packed = PackedAs<Target, T>;
  using Shape = GemmShape<Target::kIsa, Packed>;
  using Panels = WeightPanels<Target, T>;
  using PackedWeight = typename Operand<Target, Packed>::Packed;

  GatherGemm(const Gather& gather, int threads)
      : gather_(gather),
        channels_innermost_(gather),
        pixels_(gather.x.pixels()),
        inside_(gather, Shape::kTileRows),
        leaves_padding_out_(Panels::kLeavesPaddingOut && inside_.leaves_padding_out()),
        borders_(gather, Shape::kTileRows, sizeof(T)) {
    if (leaves_padding_out_) {
      gather_.pixels_are_columns = false;
      gather_.x.channel_innermost = true;
      copies_ = !gather_.x_channels_inner;
      if (copies_) gather_ = with_channels_innermost(gather_);
    }
    TileUnits units = Panels::kUnits;
    int64_t largest_block = Shape::kBlockOfC;
    if (reads_in_place() && lines_serve(threads)) {
      adds_borders_ = borders_.pay();
      if (adds_borders_) {
        gather_.x = borders_.image();
        largest_block = std::min(largest_block, borders_.most_pixels() * columns_of_block());
      }
      if (adds_borders_ || lines_pay()) units.rows = line_ = gather_.x.grid_w;
    }
    const bool wide = gather_.pixels_are_columns;
    partition_ = partition_c(wide ? gather.filters : pixels_, wide ? pixels_ : gather.filters,
                             units, largest_block, gather.groups, threads);
    const int64_t blocks_of_pixels = wide ? partition_.columns.parts : partition_.rows.parts;
    packs_ = Panels::are_packed_first(leaves_padding_out_, blocks_of_pixels);
    workers_ = worker_count(tasks(), threads);
    worker_bytes_ = 0;
    Carver count(nullptr);
    const Worker worker(*this, count);
    worker_bytes_ = count.bytes();
  }

  int64_t workspace(bool weight_is_packed) const {
    Carver count(nullptr);
    carve(count, weight_is_packed);
    return count.bytes();
  }

  // panels: what WeightPanels made of the weight, or null. Returns the bits of the largest sum
  // where tiles form them, 0 elsewhere.
  uint32_t run(const T* x, const T* weight, const PackedWeight* panels, const T* bias, T* y,
               std::byte* workspace, const Parallel& parallel) const {
    if (!Panels::serve(gather_)) panels = nullptr;
    Carver whole(workspace);
    const Arrays arrays = carve(whole, panels != nullptr);
    if (arrays.panels != nullptr) {
      Panels(gather_).pack(weight, arrays.panels, parallel);
      panels = arrays.panels;
    }
    if (arrays.x != nullptr) {
      channels_innermost_.copy(x, arrays.x, parallel);
      x = arrays.x;
    }
    Largest largest_sum;
    TaskQueue queue(tasks());
    parallel.for_each(workers_, [&](int64_t index) {
      Carver carver(arrays.workers + index * worker_bytes_);
      Worker worker(*this, carver);
      for (int64_t task = queue.take(); task >= 0; task = queue.take()) {
        worker.run(task, x, weight, panels, bias, y, largest_sum);
      }
    });
    return largest_sum.value();
  }

 private:
  struct Arrays {
    std::byte* workers;
    PackedWeight* panels;
    T* x;
  };
  // Null where they are not needed.
  Arrays carve(Carver& carver, bool weight_is_packed) const {
    Arrays arrays{};
    arrays.workers = carver.take<std::byte>(workers_ * worker_bytes_);
    if (packs_ && !weight_is_packed)
      arrays.panels = carver.take<PackedWeight>(Panels(gather_).size());
    if (copies_) arrays.x = carver.take<T>(channels_innermost_.elements());
    return arrays;
  }

  // Tiles of pixels, where they do not touch the padding.
  bool reads_in_place() const {
    return Target::kIsa != Isa::amx && std::is_same_v<T, Packed> && !leaves_padding_out_ &&
           gather_.x_channels_inner && !gather_.pixels_are_columns;
  }
  // As partition_c counts them.
  int64_t columns_of_block() const {
    constexpr int64_t kUnit = Panels::kUnits.columns;
    return round_up(EvenParts::at_most(gather_.filters, kBlockColumns, kUnit).largest() + 1, kUnit);
  }
  // Whether blocks may be whole lines of the grid: enough of them for the threads, and none longer
  // than a block of C.
  bool lines_serve(int threads) const {
    return pixels_ > 0 && gather_.filters > 0 &&
           gather_.x.grid_w <= Shape::kBlockOfC / columns_of_block() &&
           (threads == 1 || gather_.x.images * gather_.x.grid_h >= threads);
  }
  // Whether tiles are to end with the lines of the grid: the others over their ends are packed.
  bool lines_pay() const {
    Carver none(nullptr);
    return !InPlacePixels(gather_.x, 1, none).joins_rows() &&
           gather_.x.grid_w > 2 * Shape::kTileRows &&
           gather_.x.grid_w <= Shape::kBlockOfC / (2 * columns_of_block());
  }

  bool takes_taps_in_turn() const {
    return Target::kIsa != Isa::amx && reads_taps_in_turn(gather_, Shape::kTileRows);
  }

  // Groups vary fastest: they share the plan of their pixels.
  int64_t tasks() const { return partition_.blocks() * gather_.groups; }

  class Worker {
   public:
    Worker(const GatherGemm& gemm, Carver& carver)
        : gather_(gemm.gather_),
          inside_(gemm.leaves_padding_out_ ? &gemm.inside_ : nullptr),
          borders_(gemm.adds_borders_ ? &gemm.borders_ : nullptr),
          takes_taps_in_turn_(gemm.takes_taps_in_turn()),
          partition_(gemm.partition_),
          scratch_{carver.take<Packed>(PackScratch<Target, Packed>::kTilesElements),
                   carver.take<Packed>(PackScratch<Target, Packed>::kStageElements),
                   carver.take<Packed>(round_up(partition_.columns.largest(), Shape::kTileColumns) *
                                       Shape::kDepth)},
          c_stride_(BlockOfC<Accumulator>::stride_for(
              round_up(partition_.columns.largest(), Shape::kLanes))),
          c_(carver.take<Accumulator>(partition_.rows.largest() * c_stride_)),
          bias_(carver.take<Accumulator>(
              gather_.pixels_are_columns
                  ? partition_.rows.largest() * Shape::kTileColumns
                  : round_up(partition_.columns.largest(), Shape::kTileColumns))),
          bordered_(carver.take<T>(
              borders_ == nullptr ? 0 : borders_->elements(partition_.rows.largest()))),
          pixel_source_(gather_.x, most_pixels(), carver),
          channel_source_(gather_.x, carver, gemm.line_),
          weight_source_(gather_.x, gather_.weight, gather_.filters, gather_.weight_filters_inner) {
    }

    void run(int64_t task, const T* x, const T* weight, const PackedWeight* panels, const T* bias,
             T* y, Largest& largest_sum) {
      const int64_t group = task % gather_.groups, block = task / gather_.groups;
      const int64_t row = block % partition_.rows.parts, column = block / partition_.rows.parts;
      const Range rows{partition_.rows.begin(row), partition_.rows.size(row)};
      const Range columns{partition_.columns.begin(column), partition_.columns.size(column)};
      const T* image = x + group * gather_.x_group;
      if (borders_ != nullptr) {
        image = bordered_ - borders_->copy(reinterpret_cast<const std::byte*>(image), rows,
                                           reinterpret_cast<std::byte*>(bordered_));
      }
      pixel_source_.read_from(image);
      channel_source_.read_from(image);
      weight_source_.read_from(weight + group * gather_.w_group);

      Operand<Target, Packed> filters{&weight_source_, !gather_.weight_filters_inner};
      if (panels != nullptr) {
        const Panels all(gather_);
        filters.panel_stride = all.panel_stride();
        filters.panels = panels + group * all.panels_a_group() * filters.panel_stride;
      }
      const Operand<Target, Packed> pixels = image_operand();

      T* const group_y = y + gather_.y_offset + group * gather_.y_group;
      const T* const group_bias = bias == nullptr ? nullptr : bias + group * gather_.filters;
      // The sums start from the bias, in scratch and in place alike: where C lies changes no bit.
      const StartOfC<Accumulator> start =
          bias == nullptr ? StartOfC<Accumulator>{} : start_from(group_bias, rows, columns);
      if (multiply(pixels, filters, rows, columns, start, rows_in_tensor(rows, columns, group_y),
                   largest_sum)) {
        return;
      }
      if (gather_.pixels_are_columns) {
        store_filter_rows(rows, columns, group_y);
      } else {
        store_pixel_rows(rows, columns, group_y);
      }
    }

   private:
    // Whether the block has gone to `out`; it lies in c_ if not.
    bool multiply(const Operand<Target, Packed>& pixels, const Operand<Target, Packed>& filters,
                  Range rows, Range columns, const StartOfC<Accumulator>& start,
                  const OutputRows<T>& out, [[maybe_unused]] Largest& largest_sum) const {
      const BlockOfC<Accumulator> in_scratch{c_, c_stride_};
      const bool wide = gather_.pixels_are_columns;
      const Operand<Target, Packed>& a = wide ? filters : pixels;
      const Operand<Target, Packed>& b = wide ? pixels : filters;
      const Range depth{0, gather_.x.depth()};
      if constexpr (Target::kIsa == Isa::amx) {
        largest_sum.see(gemm_block(a, b, rows, columns, depth, start, in_scratch, out, scratch_));
        return out.at != nullptr && depth.size > 0;
      } else {
        const BlockOfC<Accumulator> in_place = block_in_place(columns, out);
        const BlockOfC<Accumulator>& c = in_place.data != nullptr ? in_place : in_scratch;
        if (inside_ != nullptr) {
          fill_from_start(c, rows, columns, start);
          multiply_inside(*inside_, gather_.x, pixels, filters, rows, columns, c, scratch_);
        } else if (takes_taps_in_turn_) {
          const int64_t channels = gather_.x.channels;
          for (int64_t k = 0; k < depth.size; k += channels) {
            const StartOfC<Accumulator> sum{c.data, c.stride, 1};
            gemm_block(a, b, rows, columns, {k, channels}, k == 0 ? start : sum, c, scratch_);
          }
        } else {
          gemm_block(a, b, rows, columns, depth, start, c, scratch_);
        }
        return in_place.data != nullptr;
      }
    }

    int64_t most_pixels() const {
      if (gather_.x_channels_inner) return 0;
      return gather_.pixels_are_columns ? partition_.columns.largest() : Shape::kTileRows;
    }

    Operand<Target, Packed> image_operand() {
      if (gather_.x_channels_inner) return {&channel_source_, true};
      return {&pixel_source_, false};
    }

    int64_t offset_of(const PixelIndex& at) const {
      return at.image * gather_.y.n + at.row * gather_.y.h + at.column * gather_.y.w;
    }

    OutputRows<T> rows_in_tensor(Range rows, Range columns, T* y) const {
      const Im2col& x = gather_.x;
      if (gather_.y.h != x.grid_w * gather_.y.w) return {};
      if (gather_.pixels_are_columns) {
        const PixelIndex first = PixelIndex::at(x, columns.begin);
        const int64_t plane = x.grid_h * x.grid_w;
        const bool one_image = columns.begin + columns.size <= (first.image + 1) * plane;
        if (!one_image || gather_.y.w != 1) return {};
        return {y + offset_of(first) + rows.begin * gather_.y.c, gather_.y.c};
      }
      const bool dense = x.images == 1 || gather_.y.n == x.grid_h * gather_.y.h;
      if (!dense || gather_.y.c != 1) return {};
      return {y + rows.begin * gather_.y.w + columns.begin, gather_.y.w};
    }

    // Those rows as C itself: the accumulator's type, rows of whole vectors. Null data where they
    // are not that.
    static BlockOfC<Accumulator> block_in_place(Range columns, const OutputRows<T>& rows) {
      if constexpr (std::is_same_v<T, Accumulator>) {
        if (columns.size % Shape::kLanes == 0) return {rows.at, rows.stride};
      }
      return {nullptr, 0};
    }

    StartOfC<Accumulator> start_from(const T* bias, Range rows, Range columns) const {
      if (!gather_.pixels_are_columns) {
        for (int64_t j = 0; j < columns.size; ++j) {
          bias_[j] = Storage<T>::load(bias[columns.begin + j]);
        }
        return {bias_, 0, 1};
      }
      for (int64_t i = 0; i < rows.size; ++i) {
        fill_row<Target>(bias_ + i * Shape::kTileColumns, Shape::kTileColumns,
                         Storage<T>::load(bias[rows.begin + i]));
      }
      return {bias_, Shape::kTileColumns, 0};
    }

    void store_filter_rows(Range filters, Range pixels, T* y) const {
      const Im2col& x = gather_.x;
      // Where the rows of a plane follow one another, a whole plane is one run.
      const bool dense = gather_.y.h == x.grid_w * gather_.y.w;
      PixelIndex at = PixelIndex::at(x, pixels.begin);
      for (int64_t done = 0; done < pixels.size;) {
        const int64_t left = pixels.size - done;
        const int64_t rest =
            x.grid_w - at.column + (dense ? (x.grid_h - 1 - at.row) * x.grid_w : 0);
        const int64_t run = left < rest ? left : rest;
        T* const to = y + offset_of(at) + filters.begin * gather_.y.c;
        for (int64_t f = 0; f < filters.size; ++f) {
          store_row<Target>(c_ + f * c_stride_ + done, run, to + f * gather_.y.c, gather_.y.w);
        }
        done += run;
        at.column = x.grid_w - 1;
        if (dense) at.row = x.grid_h - 1;
        at.advance(x);
      }
    }

    void store_pixel_rows(Range pixels, Range filters, T* y) const {
      PixelIndex at = PixelIndex::at(gather_.x, pixels.begin);
      for (int64_t i = 0; i < pixels.size; ++i, at.advance(gather_.x)) {
        store_row<Target>(c_ + i * c_stride_, filters.size,
                          y + offset_of(at) + filters.begin * gather_.y.c, gather_.y.c);
      }
    }

    const Gather& gather_;
    const InsideTaps* inside_;    // null where products with padding are formed too
    const ZeroBorders* borders_;  // null where tiles that touch the padding are packed
    bool takes_taps_in_turn_;
    const Partition& partition_;
    PackScratch<Target, Packed> scratch_;
    int64_t c_stride_;
    Accumulator* c_;
    Accumulator* bias_;  // for each row of C a vector of its filter's, or for each column
    T* bordered_;
    PixelSource<Target, T> pixel_source_;
    ChannelSource<Target, T> channel_source_;
    WeightSource<Target, T> weight_source_;
  };

  Gather gather_;
  ChannelsInnermost<Target, T> channels_innermost_;
  bool copies_ = false;
  int64_t pixels_;
  InsideTaps inside_;
  bool leaves_padding_out_;
  ZeroBorders borders_;
  bool adds_borders_ = false;
  int64_t line_ = 0;  // that tiles end with
  bool packs_ = false;
  Partition partition_;
  int64_t workers_;
  int64_t worker_bytes_;
};

}  // namespace fastconv::cpu
