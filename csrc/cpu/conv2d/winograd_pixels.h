// The pixels under a run of Winograd's tiles, one vector of channels at a time, in a scratch where
// the lanes of a pixel follow one another. To be included under an instruction set's pragma.
#pragma once

#include <type_traits>

#include "cpu/conv2d/transpose_to_floats.h"
#include "cpu/conv2d/winograd_plan.h"

namespace fastconv::cpu {

// What tiles read: these channels of a batch of images, zero beyond their edges.
template <class T>
struct TilePixels {
  const T* at;  // the first of the channels
  Strides4 strides;
  int64_t channels;
  int64_t height, width, pad_h, pad_w;
};

// A tile's pixels where they can be read as floats: those of column j in row i at at[i * row + j *
// column].
struct TileView {
  const float* at;
  int64_t row, column;
};

// Tiles of kOutputs x kOutputs pixels and the `kPoints - kOutputs` beyond them that they may read.
template <class Target, int kOutputs, int kPoints>
class WinogradPixels {
 public:
  using Vector = typename Target::template Vector<float>;
  static constexpr int kLanes = Vector::kLanes;

  // Columns under a run, of 32 tiles where they are not dilated: with AVX-512 the pixels under it
  // fill 50 KB. The square after them takes what a transpose writes past the end of the last row.
  static constexpr int64_t kRunColumns = 32 * kOutputs + kPoints - kOutputs;
  static constexpr int64_t kScratchFloats =
      kPoints * round_up(kRunColumns, kLanes) * kLanes + kLanes * kLanes;

  // The pixels under a run, as tiles of kRows x kRows. Where the channels of a pixel are
  // neighbours, each tile of floats is read where it lies, and those that reach over an edge or are
  // not floats are copied one by one; copying whole runs took a fifth of the gradient of the
  // weight.
  template <int kRows, class T>
  class Tiles {
   public:
    Tiles(const TilePixels<T>& from, const TileRun& run, Extent2 dilation, float* scratch)
        : from_(from), run_(run), dilation_(dilation), scratch_(scratch) {
      if (channels_inner()) return;
      const int64_t columns = run.spans * kOutputs + kRows - kOutputs;
      row_floats_ = scratch_row(columns * run.residues);
      read(from, run, dilation, kRows, columns, row_floats_, scratch);
    }

    TileView tile(int64_t t) const {
      if (!channels_inner()) {
        return {scratch_ + scratch_column(run_, t) * kLanes, row_floats_, run_.residues * kLanes};
      }
      const int64_t h = run_.row - from_.pad_h, w = tile_column(run_, dilation_.w, t) - from_.pad_w;
      const Strides4& s = from_.strides;
      const T* const at = from_.at + run_.image * s.n;
      if constexpr (std::is_same_v<T, float>) {
        if (from_.channels >= kLanes && h >= 0 && w >= 0 &&
            h + (kRows - 1) * dilation_.h < from_.height &&
            w + (kRows - 1) * dilation_.w < from_.width) {
          return {at + h * s.h + w * s.w, s.h * dilation_.h, s.w * dilation_.w};
        }
      }
      copy_tile(at, h, w);
      return {scratch_, kRows * kLanes, kLanes};
    }

   private:
    bool channels_inner() const { return from_.strides.c == 1 || from_.channels == 1; }

    void copy_tile(const T* image, int64_t h, int64_t w) const {
      const uint32_t lanes = first_lanes(from_.channels < kLanes ? from_.channels : kLanes);
      float* to = scratch_;
      for (int i = 0; i < kRows; ++i, h += dilation_.h) {
        const bool row_inside = h >= 0 && h < from_.height;
        for (int j = 0; j < kRows; ++j, to += kLanes) {
          const int64_t column = w + j * dilation_.w;
          const bool inside = row_inside && column >= 0 && column < from_.width;
          const int64_t offset = inside ? h * from_.strides.h + column * from_.strides.w : 0;
          Vector::store(to, Vector::load_lanes(image + offset, inside ? lanes : 0));
        }
      }
    }

    const TilePixels<T>& from_;
    const TileRun& run_;
    Extent2 dilation_;
    float* scratch_;
    int64_t row_floats_ = 0;
  };

  // The first column of a run's tile.
  static int64_t tile_column(const TileRun& run, int64_t dilation, int64_t tile) {
    if (run.residues == 1) return run.column + tile * kOutputs * dilation;
    return run.column + tile / run.residues * kOutputs * dilation + tile % run.residues;
  }

  static constexpr int64_t scratch_row(int64_t width) { return round_up(width, kLanes) * kLanes; }

  // Where the first column of a run's tile lies in a row of scratch.
  static int64_t scratch_column(const TileRun& run, int64_t tile) {
    if (run.residues == 1) return tile * kOutputs;
    return tile / run.residues * run.residues * kOutputs + tile % run.residues;
  }

  // use(column, size, at): the pieces of a row under a run, `columns` for each residue: from this
  // column of the image on, as many, which stand at `at` in scratch.
  template <class Use>
  static void for_each_piece(const TileRun& run, int64_t dilation, int64_t columns,
                             const Use& use) {
    if (run.residues == dilation) {
      use(run.column, columns * dilation, int64_t{0});
      return;
    }
    for (int64_t i = 0; i < columns; ++i) {
      use(run.column + i * dilation, run.residues, i * run.residues);
    }
  }

 private:
  // scratch[row][column][lane] of so many rows, and so many columns for each residue.
  template <class T>
  static void read(const TilePixels<T>& from, const TileRun& run, Extent2 dilation, int64_t rows,
                   int64_t columns, int64_t row_floats, float* scratch) {
    const T* const image = from.at + run.image * from.strides.n;
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t h = run.row + i * dilation.h - from.pad_h;
      const bool inside = h >= 0 && h < from.height;
      for_each_piece(run, dilation.w, columns, [&](int64_t column, int64_t size, int64_t at) {
        float* const to = scratch + i * row_floats + at * kLanes;
        if (inside) {
          read_row(from, image + h * from.strides.h, column - from.pad_w, size, to);
        } else {
          clear(to, 0, size);
        }
      });
    }
  }

  template <class T>
  static void read_row(const TilePixels<T>& image, const T* row, int64_t first, int64_t size,
                       float* to) {
    const int64_t begin = first < 0 ? -first : 0;
    const int64_t end = image.width - first < size ? image.width - first : size;
    if (begin >= end) {
      clear(to, 0, size);
      return;
    }
    clear(to, 0, begin);
    const T* const from = row + (first + begin) * image.strides.w;
    const int64_t channels = image.channels < kLanes ? image.channels : int64_t{kLanes};
    turn_rows(from, image.strides.c, channels, end - begin, to + begin * kLanes);
    clear(to, end, size);
  }

  static void clear(float* row, int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) Vector::store(row + j * kLanes, Vector::zero());
  }

  // Columns in a row, one channel beside another: transposed, a square of pixels at a time.
  template <class T>
  static void turn_rows(const T* from, int64_t stride, int64_t channels, int64_t columns,
                        float* to) {
    int64_t j = 0;
    if (channels == kLanes) {
      for (; j + kLanes <= columns; j += kLanes) {
        transpose_to_floats<Target>(from + j, stride, to + j * kLanes, kLanes);
      }
    }
    alignas(64) float square[kLanes * kLanes];
    for (; j < columns; j += kLanes) {
      const int64_t left = columns - j < kLanes ? columns - j : int64_t{kLanes};
      for (int64_t l = 0; l < kLanes; ++l) {
        Vector::store(square + l * kLanes,
                      l < channels ? Vector::load_lanes(from + l * stride + j, first_lanes(left))
                                   : Vector::zero());
      }
      // What this writes past the last column is overwritten by what comes next, or never read.
      Vector::transpose(square, kLanes, to + j * kLanes, kLanes);
    }
  }
};

}  // namespace fastconv::cpu
