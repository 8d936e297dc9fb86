// The two ends of Winograd's convolution: from the image to V, and from M to the image, a run of
// tiles and one vector of channels at a time. To be included under an instruction set's pragma.
#pragma once

#include "cpu/conv2d/winograd_plan.h"
#include "cpu/conv2d/winograd_transform.h"

namespace fastconv::cpu {

template <class Target, template <class> class Method>
class WinogradTiles {
 public:
  using Vector = typename Target::template Vector<float>;
  using Type = typename Vector::Type;
  using Transform = Method<Target>;
  static constexpr int kLanes = Vector::kLanes;
  static constexpr int kPoints = Transform::kPoints;
  static constexpr int kOutputs = Transform::kOutputs;
  static constexpr uint32_t kAllLanes = first_lanes(kLanes);

  // Columns under a run, of 32 tiles where they are not dilated: with AVX-512 the pixels under it
  // fill 50 KB. The square after them takes what a transpose writes past the end of the last row.
  static constexpr int64_t kRunColumns = 32 * kOutputs + 2;
  static constexpr int64_t kScratchFloats =
      kPoints * round_up(kRunColumns, kLanes) * kLanes + kLanes * kLanes;

  // scratch: kScratchFloats.
  WinogradTiles(const WinogradConv& conv, const WinogradPlan& plan, float* scratch)
      : conv_(conv), plan_(plan), scratch_(scratch) {}

  // V of channels [channel, channel + kLanes) for the tiles of a run.
  void transform_input(const float* x, int64_t channel, const TileRun& run, float* v) const {
    // Of a tile's columns, `apart` floats from each other.
    const int64_t apart = run.residues * kLanes;
    const int64_t row_floats = scratch_row((run.spans * kOutputs + 2) * run.residues);
    read_pixels(x, channel, run, row_floats);
    v += plan_.v_channel(channel) + run.first * plan_.row_stride;
    for (int64_t t = 0; t < run.size(); ++t, v += plan_.row_stride) {
      const float* const from = scratch_ + scratch_column(run, t) * kLanes;
      Type half[kPoints * kPoints], whole[kPoints * kPoints];
#pragma GCC unroll 8
      for (int j = 0; j < kPoints; ++j) {
        Type column[kPoints], transformed[kPoints];
#pragma GCC unroll 8
        for (int i = 0; i < kPoints; ++i) {
          column[i] = Vector::load(from + i * row_floats + j * apart);
        }
        Transform::input(column, transformed, 1);
#pragma GCC unroll 8
        for (int i = 0; i < kPoints; ++i) half[i * kPoints + j] = transformed[i];
      }
#pragma GCC unroll 8
      for (int i = 0; i < kPoints; ++i) {
        Transform::input(half + i * kPoints, whole + i * kPoints, 1);
#pragma GCC unroll 8
        for (int j = 0; j < kPoints; ++j) {
          Vector::store(v + plan_.v_point[i * kPoints + j], whole[i * kPoints + j]);
        }
      }
    }
  }

  // y of filters [filter, filter + kLanes) for the tiles of a run. False where a sum is not finite:
  // an infinity or a NaN spreads over its tile, and sums of transformed values may overflow where
  // the plain one does not.
  bool transform_output(const float* m, const float* bias, int64_t filter, const TileRun& run,
                        float* y) const {
    const int64_t apart = run.residues * kLanes;
    const int64_t row_floats = scratch_row(run.size() * kOutputs);
    const int64_t left = conv_.filters - filter;
    const uint32_t lanes = first_lanes(left < kLanes ? left : int64_t{kLanes});
    const Type start = bias == nullptr ? Vector::zero() : Vector::load_lanes(bias + filter, lanes);
    const int64_t stride = plan_.m_stride, point = plan_.block_tiles * stride;
    Type not_finite = Vector::zero();
    const Type zero = Vector::zero();
    for (int64_t t = 0; t < run.size(); ++t) {
      const float* const from = m + (run.first + t) * stride + filter;
      float* const to = scratch_ + scratch_column(run, t) * kLanes;
      Type half[kOutputs * kPoints];
#pragma GCC unroll 8
      for (int j = 0; j < kPoints; ++j) {
        Type column[kPoints], transformed[kOutputs];
#pragma GCC unroll 8
        for (int i = 0; i < kPoints; ++i) {
          column[i] = Vector::load_unaligned(from + (i * kPoints + j) * point);
        }
        Transform::output(column, transformed, 1, 1);
#pragma GCC unroll 8
        for (int i = 0; i < kOutputs; ++i) half[i * kPoints + j] = transformed[i];
      }
#pragma GCC unroll 8
      for (int i = 0; i < kOutputs; ++i) {
        Type row[kOutputs];
        Transform::output(half + i * kPoints, row, 1, 1);
#pragma GCC unroll 8
        for (int j = 0; j < kOutputs; ++j) {
          const Type sum = Vector::add(row[j], start);
          // 0 * x is 0, or NaN where x is not finite.
          not_finite = Vector::multiply_add(sum, zero, not_finite);
          Vector::store(to + i * row_floats + j * apart, sum);
        }
      }
    }
    write_pixels(filter, run, lanes, row_floats, y);
    alignas(64) float seen[kLanes];
    Vector::store(seen, not_finite);
    for (int l = 0; l < kLanes; ++l) {
      if ((lanes >> l & 1u) != 0 && seen[l] != 0) return false;
    }
    return true;
  }

 private:
  static int64_t scratch_row(int64_t width) { return round_up(width, kLanes) * kLanes; }

  // Where the first column of a run's tile lies in a row of scratch.
  static int64_t scratch_column(const TileRun& run, int64_t tile) {
    if (run.residues == 1) return tile * kOutputs;
    return tile / run.residues * run.residues * kOutputs + tile % run.residues;
  }

  // use(column, size, at): the pieces of a row under a run, `columns` for each residue: from this
  // column of the image on, as many, which stand at `at` in scratch.
  template <class Use>
  void for_each_piece(const TileRun& run, int64_t columns, const Use& use) const {
    const int64_t dilation = conv_.dilation.w;
    if (run.residues == dilation) {
      use(run.column, columns * dilation, int64_t{0});
      return;
    }
    for (int64_t i = 0; i < columns; ++i) {
      use(run.column + i * dilation, run.residues, i * run.residues);
    }
  }

  // scratch[row][column][lane]: the pixels under a run of tiles, zero where there is padding.
  void read_pixels(const float* x, int64_t channel, const TileRun& run, int64_t row_floats) const {
    const int64_t left = conv_.channels - channel;
    const int64_t channels = left < kLanes ? left : int64_t{kLanes};
    const float* const image = x + run.image * conv_.x.n + channel * conv_.x.c;
    for (int i = 0; i < kPoints; ++i) {
      const int64_t h = run.row + i * conv_.dilation.h - conv_.pad_h;
      const bool inside = h >= 0 && h < conv_.height;
      for_each_piece(run, run.spans * kOutputs + 2, [&](int64_t column, int64_t size, int64_t at) {
        float* const to = scratch_ + i * row_floats + at * kLanes;
        if (inside) {
          read_row(image + h * conv_.x.h, column - conv_.pad_w, channels, size, to);
        } else {
          clear(to, 0, size);
        }
      });
    }
  }

  void read_row(const float* row, int64_t first, int64_t channels, int64_t size, float* to) const {
    const int64_t begin = first < 0 ? -first : 0;
    const int64_t end = conv_.width - first < size ? conv_.width - first : size;
    if (begin >= end) {
      clear(to, 0, size);
      return;
    }
    clear(to, 0, begin);
    const float* const from = row + (first + begin) * conv_.x.w;
    if (conv_.x.c == 1 || conv_.channels == 1) {
      copy_channels(from, channels, end - begin, to + begin * kLanes);
    } else {
      turn_rows(from, channels, end - begin, to + begin * kLanes);
    }
    clear(to, end, size);
  }

  static void clear(float* row, int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) Vector::store(row + j * kLanes, Vector::zero());
  }

  void copy_channels(const float* from, int64_t channels, int64_t columns, float* to) const {
    const uint32_t lanes = first_lanes(channels);
    for (int64_t j = 0; j < columns; ++j) {
      Vector::store(to + j * kLanes, Vector::load_lanes(from + j * conv_.x.w, lanes));
    }
  }

  // Columns in a row, one channel beside another: transposed, a square of pixels at a time.
  void turn_rows(const float* from, int64_t channels, int64_t columns, float* to) const {
    int64_t j = 0;
    if (channels == kLanes) {
      for (; j + kLanes <= columns; j += kLanes) {
        Vector::transpose(from + j, conv_.x.c, to + j * kLanes, kLanes);
      }
    }
    alignas(64) float square[kLanes * kLanes];
    for (; j < columns; j += kLanes) {
      const int64_t left = columns - j < kLanes ? columns - j : int64_t{kLanes};
      for (int64_t l = 0; l < kLanes; ++l) {
        Vector::store(square + l * kLanes,
                      l < channels ? Vector::load_lanes(from + l * conv_.x.c + j, first_lanes(left))
                                   : Vector::zero());
      }
      // What this writes past the last column is overwritten by what comes next, or never read.
      Vector::transpose(square, kLanes, to + j * kLanes, kLanes);
    }
  }

  void write_pixels(int64_t filter, const TileRun& run, uint32_t lanes, int64_t row_floats,
                    float* y) const {
    float* const image = y + run.image * conv_.y.n + filter * conv_.y.c;
    for (int64_t i = 0; i < kOutputs; ++i) {
      const int64_t h = run.row + i * conv_.dilation.h;
      if (h >= conv_.out_height) return;
      for_each_piece(run, run.spans * kOutputs, [&](int64_t column, int64_t size, int64_t at) {
        const int64_t left = conv_.out_width - column;
        write_row(scratch_ + i * row_floats + at * kLanes, left < size ? left : size, lanes,
                  image + h * conv_.y.h + column * conv_.y.w);
      });
    }
  }

  void write_row(const float* from, int64_t columns, uint32_t lanes, float* to) const {
    if (conv_.y.c == 1 || conv_.filters == 1) {
      for (int64_t j = 0; j < columns; ++j) {
        Vector::store_lanes(to + j * conv_.y.w, Vector::load(from + j * kLanes), lanes);
      }
    } else {
      write_turned(from, columns, lanes, to);
    }
  }

  void write_turned(const float* from, int64_t columns, uint32_t lanes, float* to) const {
    alignas(64) float square[kLanes * kLanes];
    for (int64_t j = 0; j < columns; j += kLanes) {
      const int64_t left = columns - j;
      if (left >= kLanes && lanes == kAllLanes) {
        Vector::transpose(from + j * kLanes, kLanes, to + j, conv_.y.c);
        continue;
      }
      Vector::transpose(from + j * kLanes, kLanes, square, kLanes);
      const uint32_t in_row = first_lanes(left < kLanes ? left : int64_t{kLanes});
      for (int l = 0; l < kLanes; ++l) {
        if ((lanes >> l & 1u) == 0) break;
        Vector::store_lanes(to + l * conv_.y.c + j, Vector::load(square + l * kLanes), in_row);
      }
    }
  }

  const WinogradConv& conv_;
  const WinogradPlan& plan_;
  float* scratch_;
};

}  // namespace fastconv::cpu
