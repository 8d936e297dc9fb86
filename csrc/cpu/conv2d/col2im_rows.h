// col2im's second half: rows of grad_input, as far as a window reaches, in which the sums of one
// pixel of output after another are added up, and which are stored when no pixel reaches them any
// more. To be included under an instruction set's pragma.
#pragma once

#include "cpu/conv2d/col2im_plan.h"
#include "cpu/conv2d/inside_taps.h"
#include "cpu/conv2d/store_rows.h"
#include "cpu/gemm/packing.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

// The rows of a block of channels of one image at a time, as floats or doubles. Row h lies at h
// modulo their number, in the order of the weight: [column, channel], or planes of [channel, row,
// column], in which columns of the same residue modulo the stride are neighbours, as the pixels of
// output are that write them.
template <class Target, class T>
class Col2imRows {
 public:
  using Accumulator = typename Storage<T>::Accumulator;
  using Vector = typename Target::template Vector<Accumulator>;
  static constexpr int64_t kLanes = Vector::kLanes;
  // Of a row of pixels add() may read so many more, whatever they hold.
  static constexpr int64_t kSpareSums = kLanes;

  Col2imRows(const Conv2dProblem& p, const Col2imPlan& plan, Carver& carver)
      : p_(p),
        rows_(plan.rows),
        channels_inner_(plan.order == FilterOrder::channels_inner),
        residues_(p.stride.w < p.W ? p.stride.w : p.W),
        of_residue_(ceil_div(p.W, p.stride.w)),
        at_(carver.take<Accumulator>(rows_ * plane_row() * plan.channels.largest())),
        turned_(carver.take<Accumulator>(larger(
            p.W * plan.channels.largest(),
            channels_inner_ ? 0 : round_up(channels_a_turn() * p.R * p.S, kLanes) * kLanes))),
        row_of_tap_(carver.take<int64_t>(p.R)),
        column_taps_(carver.take<ColumnTap>(channels_inner_ ? 0 : p.S)) {
    if (channels_inner_ || column_taps_ == nullptr) return;
    for (int64_t s = 0; s < p.S; ++s) {
      const int64_t first = s * p.dilation.w - p.pad.w;
      const int64_t residue = (first % p.stride.w + p.stride.w) % p.stride.w;
      column_taps_[s] = {residue * of_residue_ + (first - residue) / p.stride.w,
                         steps_inside(first, p.stride.w, p.Q, p.W)};
    }
  }

  // grad_input: of the first image, at the block's first channel.
  void begin(T* grad_input, int64_t channels) {
    grad_input_ = grad_input;
    channels_ = channels;
  }
  void begin_image(int64_t image) {
    to_ = grad_input_ + image * p_.input.n;
    next_ = done_ = 0;
  }

  // The sums of a run of pixels of one row of output, `stride` apart.
  void add(int64_t row, Range columns, const Accumulator* sums, int64_t stride) {
    const int64_t top = row * p_.stride.h - p_.pad.h;
    const Range taps = steps_inside(top, p_.dilation.h, p_.R, p_.H);
    if (taps.size == 0) return;
    enter_rows(top + (taps.begin + taps.size - 1) * p_.dilation.h + 1);
    for (int64_t r = taps.begin; r < taps.begin + taps.size; ++r) {
      row_of_tap_[r] = place_of(top + r * p_.dilation.h);
    }
    if (channels_inner_) {
      for (int64_t q = 0; q < columns.size; ++q) {
        add_pixel(taps, (columns.begin + q) * p_.stride.w - p_.pad.w, sums + q * stride);
      }
      return;
    }
    for (int64_t q = 0; q < columns.size; q += kLanes) {
      const int64_t left = columns.size - q;
      add_to_planes(taps, {columns.begin + q, left < kLanes ? left : kLanes}, sums + q * stride,
                    stride);
    }
  }

  void end_image() {
    enter_rows(p_.H);
    while (done_ < p_.H) store(done_++);
  }

 private:
  // Of a column tap: each of these pixels of a row of output, q, adds to what lies `place` + q
  // behind the row's first column.
  struct ColumnTap {
    int64_t place;
    Range pixels;
  };

  int64_t plane_row() const { return channels_inner_ ? p_.W : residues_ * of_residue_; }
  int64_t a_row() const { return plane_row() * (channels_inner_ ? channels_ : 1); }
  int64_t a_plane() const { return rows_ * plane_row(); }
  int64_t place_of(int64_t row) const { return row % rows_ * a_row(); }

  // Rows below `end` hold sums, or have been stored.
  void enter_rows(int64_t end) {
    for (; next_ < end; ++next_) {
      if (next_ - done_ == rows_) store(done_++);
      Accumulator* const row = at_ + place_of(next_);
      const int64_t planes = channels_inner_ ? 1 : channels_;
      for (int64_t c = 0; c < planes; ++c) {
        fill_row<Target>(row + c * a_plane(), a_row(), Accumulator{0});
      }
    }
  }

  // left: the column that the first tap reads.
  void add_pixel(Range rows, int64_t left, const Accumulator* sums) {
    const Range columns = left >= 0 && left + (p_.S - 1) * p_.dilation.w < p_.W
                              ? Range{0, p_.S}
                              : steps_inside(left, p_.dilation.w, p_.S, p_.W);
    if (columns.size == 0) return;
    const int64_t first = left + columns.begin * p_.dilation.w;
    for (int64_t r = rows.begin; r < rows.begin + rows.size; ++r) {
      add_channels(sums + (r * p_.S + columns.begin) * channels_, columns.size,
                   at_ + row_of_tap_[r] + first * channels_);
    }
  }

  void add_channels(const Accumulator* sums, int64_t taps, Accumulator* to) const {
    if (p_.dilation.w == 1 || taps == 1) {
      add_run(sums, taps * channels_, to);
      return;
    }
    for (int64_t s = 0; s < taps; ++s) {
      add_run(sums + s * channels_, channels_, to + s * p_.dilation.w * channels_);
    }
  }

  static void add_run(const Accumulator* from, int64_t count, Accumulator* to) {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) add_vector(from + i, to + i);
    if (i < count) add_lanes(from + i, first_lanes(count - i), to + i);
  }
  static void add_vector(const Accumulator* from, Accumulator* to) {
    Vector::store_unaligned(to,
                            Vector::add(Vector::load_unaligned(to), Vector::load_unaligned(from)));
  }
  static void add_lanes(const Accumulator* from, uint32_t lanes, Accumulator* to) {
    Vector::store_lanes(
        to, Vector::add(Vector::load_lanes(to, lanes), Vector::load_lanes(from, lanes)), lanes);
  }

  // Channels whose sums are turned together: 9 KiB of them.
  int64_t channels_a_turn() const {
    constexpr int64_t kColumns = 144;
    return larger(kColumns / (p_.R * p_.S), 1);
  }

  // A vector of pixels of a row: their sums, turned, are vectors of one channel and tap each, which
  // go to neighbours. Taps outside, channels inside: windows of neighbouring taps overlap, and a
  // load that overlaps a store has to wait for it. The last tap first: it adds what the first pixel
  // has for a column, and so the sums of a column come in the order of the pixels, wherever a run
  // of those begins.
  void add_to_planes(Range rows, Range pixels, const Accumulator* sums, int64_t stride) {
    const int64_t taps = p_.R * p_.S;
    for (int64_t c = 0; c < channels_; c += channels_a_turn()) {
      const int64_t left = channels_ - c;
      const int64_t count = left < channels_a_turn() ? left : channels_a_turn();
      for (int64_t j = 0; j < count * taps; j += kLanes) {
        Vector::transpose(sums + c * taps + j, stride, turned_ + j * kLanes, kLanes);
      }
      for (int64_t r = rows.begin; r < rows.begin + rows.size; ++r) {
        for (int64_t s = p_.S - 1; s >= 0; --s) {
          const ColumnTap& tap = column_taps_[s];
          Accumulator* const to = at_ + c * a_plane() + row_of_tap_[r] + tap.place + pixels.begin;
          const int64_t begin = tap.pixels.begin - pixels.begin;
          const uint32_t lanes =
              lanes_below(begin + tap.pixels.size) & ~lanes_below(begin) & first_lanes(pixels.size);
          add_turned(turned_ + (r * p_.S + s) * kLanes, taps * kLanes, lanes, count, to);
        }
      }
    }
  }
  static uint32_t lanes_below(int64_t end) { return end <= 0 ? 0 : first_lanes(end); }
  void add_turned(const Accumulator* from, int64_t stride, uint32_t lanes, int64_t channels,
                  Accumulator* to) const {
    if (lanes == 0) return;
    const bool all = lanes == first_lanes(kLanes);
    for (int64_t c = 0; c < channels; ++c) {
      if (all) {
        add_vector(from + c * stride, to + c * a_plane());
      } else {
        add_lanes(from + c * stride, lanes, to + c * a_plane());
      }
    }
  }

  void store(int64_t row) {
    const Accumulator* const from = at_ + place_of(row);
    T* const to = to_ + row * p_.input.h;
    const int64_t columns = p_.W, channels = channels_, c = p_.input.c, w = p_.input.w;
    if (!channels_inner_) {
      store_planes(from, to);
    } else if (c == 1 && w == channels) {
      store_row<Target>(from, columns * channels, to, 1);
    } else if (w == 1) {
      transpose<Target>(from, channels, columns, channels, turned_, columns);
      for (int64_t i = 0; i < channels; ++i) {
        store_row<Target>(turned_ + i * columns, columns, to + i * c, 1);
      }
    } else {
      store_pixels(from, columns, to, w);
    }
  }
  void store_pixels(const Accumulator* from, int64_t columns, T* to, int64_t stride) const {
    for (int64_t w = 0; w < columns; ++w) {
      store_row<Target>(from + w * channels_, channels_, to + w * stride, p_.input.c);
    }
  }
  void store_planes(const Accumulator* from, T* to) {
    const int64_t step = p_.input.w * p_.stride.w;
    for (int64_t i = 0; i < residues_; ++i, from += of_residue_, to += p_.input.w) {
      const int64_t columns = ceil_div(p_.W - i, p_.stride.w);
      if (p_.input.c == 1) {
        transpose<Target>(from, a_plane(), channels_, columns, turned_, channels_);
        store_pixels(turned_, columns, to, step);
        continue;
      }
      for (int64_t c = 0; c < channels_; ++c) {
        store_row<Target>(from + c * a_plane(), columns, to + c * p_.input.c, step);
      }
    }
  }

  const Conv2dProblem& p_;
  int64_t rows_;
  bool channels_inner_;
  int64_t residues_, of_residue_;  // of columns modulo the stride; columns of each
  Accumulator* at_;
  Accumulator* turned_;  // a row in the other order, or the sums of a vector of pixels
  int64_t* row_of_tap_;  // where it lies
  ColumnTap* column_taps_;
  T* grad_input_ = nullptr;
  T* to_ = nullptr;  // of the image
  int64_t channels_ = 0;
  // The rows [done_, next_) hold sums.
  int64_t next_ = 0, done_ = 0;
};

}  // namespace fastconv::cpu
