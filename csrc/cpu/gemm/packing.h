// Packing: from a matrix that exists only as a rule (an im2col matrix, a strided weight) to the two
// layouts that the micro-kernel reads.
#pragma once

#include <type_traits>

#include "cpu/dtype.h"
#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {

// What elements of type T are packed as.
template <class Target, class T>
struct PackedType {
  using Type = typename Storage<T>::Accumulator;
};
template <class Target, class T>
using PackedAs = typename PackedType<Target, T>::Type;

// Static as Storage is, and for the same reason: it names no instruction set's target.
template <class Packed, class T>
static Packed as_packed(T x) {
  if constexpr (std::is_same_v<Packed, T>) {
    return x;
  } else {
    return Storage<T>::load(x);
  }
}

// Where packed elements go: element (o, i) of the outer and the inner direction to
//   o * outer_stride + i / kTileColumns * panel_stride + i % kTileColumns.
// With panel_stride = kTileColumns the inner direction is contiguous.
struct PackedLayout {
  int64_t outer_stride;
  int64_t panel_stride;
};

// A rectangle of the matrix in the source's own directions.
struct PackBlock {
  int64_t outer_begin, outer_size;
  int64_t inner_begin, inner_size;
};

// Rows of memory that are wanted soon, line after line of all of them: into L2, a few at a time, so
// that they arrive while products are formed. (Asked for all at once they take the time that they
// were to save: a core waits for a dozen lines at a time.)
class RowsAhead {
 public:
  RowsAhead() = default;
  // `rows` rows of `bytes` each, `stride` bytes apart, to be there after `steps` steps.
  RowsAhead(const void* at, int64_t rows, int64_t bytes, int64_t stride, int64_t steps)
      : at_(static_cast<const char*>(at)),
        stride_(stride),
        rows_(rows),
        bytes_(bytes),
        a_step_(ceil_div(rows * ceil_div(bytes, 64), steps)) {}

  void step() {
    for (int64_t i = 0; i < a_step_ && byte_ < bytes_; ++i) {
      __builtin_prefetch(at_ + row_ * stride_ + byte_, 0, 2);
      if (++row_ == rows_) {
        row_ = 0;
        byte_ += 64;
      }
    }
  }

 private:
  const char* at_ = nullptr;
  int64_t stride_ = 0, rows_ = 0, bytes_ = 0, a_step_ = 0;
  int64_t row_ = 0, byte_ = 0;
};

// A matrix that can be read. "inner" is the direction along which its memory is best read, be it
// rows, columns or the reduction: the operand that does not want it so transposes.
template <class Target, class Accumulator>
class PackSource {
 public:
  // Writes the block to `to`; what lies between inner_size and the next whole vector may be
  // overwritten.
  virtual void pack(const PackBlock& block, Accumulator* to, const PackedLayout& layout) = 0;

  // The rows [begin, begin + size) of the outer direction, with the whole inner one, where the
  // micro-kernel can read them as they lie; their `at` is null where it cannot.
  virtual TileOfA<Accumulator> in_place(int64_t /*begin*/, int64_t /*size*/) { return {}; }

  // The same, where they are read but once or twice: whichever sets of L1 they fall into.
  virtual TileOfA<Accumulator> rows_in_memory(int64_t /*begin*/, int64_t /*size*/) { return {}; }

  // Rows that lie in place together, or 0: tiles over the ends of such lines have to be packed.
  virtual int64_t line() const { return 0; }

  // The same rows, of them the part k of the inner direction, where it pays to fetch them ahead.
  virtual RowsAhead ahead(int64_t /*begin*/, int64_t /*size*/, Range /*k*/, int64_t /*steps*/) {
    return {};
  }

  // The columns [begin, begin + size) of the inner direction for rows k of the outer one, with
  // room for whole vectors, where the micro-kernel can read them as they lie; null where it cannot.
  virtual PanelOfB<Accumulator> panel_in_place(int64_t /*begin*/, int64_t /*size*/, Range /*k*/) {
    return {};
  }
  // How far rows of such panels are apart, or 0 where none can be read so.
  virtual int64_t stride_in_place() const { return 0; }

 protected:
  ~PackSource() = default;
};

// One side of the product. For A the outer edge of the matrix is its rows, for B its columns; the
// other direction is the reduction.
template <class Target, class Accumulator>
struct Operand {
  using Packed = Accumulator;

  PackSource<Target, Accumulator>* source;
  bool inner_is_reduction;
  // For B: all of it in panels already, each of kTileColumns columns and the whole reduction.
  const Accumulator* panels = nullptr;
  int64_t panel_stride = 0;
};

// to[j * to_stride + i] = from[i * from_stride + j] for i < rows, j < columns.
template <class Target, class Accumulator>
void transpose(const Accumulator* from, int64_t from_stride, int64_t rows, int64_t columns,
               Accumulator* to, int64_t to_stride) {
  using Vector = typename Target::template Vector<Accumulator>;
  constexpr int64_t kLanes = Vector::kLanes;
  const int64_t whole_rows = rows / kLanes * kLanes, whole_columns = columns / kLanes * kLanes;
  for (int64_t i = 0; i < whole_rows; i += kLanes) {
    for (int64_t j = 0; j < whole_columns; j += kLanes) {
      Vector::transpose(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
    }
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j) {
      to[j * to_stride + i] = from[i * from_stride + j];
    }
  }
}

// The scratch of one thread inside the GEMM.
template <class Target, class Accumulator>
struct PackScratch {
  using Shape = GemmShape<Target::kIsa, Accumulator>;
  static constexpr int64_t kLanesOfRows = round_up(Shape::kTileRows, Shape::kLanes);
  static constexpr int64_t kTileElements = kLanesOfRows * Shape::kTileRowStride;
  // So many tiles of A may be packed at a time: 60 KiB.
  static constexpr int64_t kTiles = 4;
  static constexpr int64_t kTilesElements = kTiles * kTileElements;
  static constexpr int64_t kStagedRows =
      Shape::kTileColumns > kLanesOfRows ? Shape::kTileColumns : kLanesOfRows;
  static constexpr int64_t kStageElements = kStagedRows * Shape::kTileRowStride;

  Accumulator* tile;   // tiles of A: kTilesElements
  Accumulator* stage;  // what is to be transposed: kStageElements
  Accumulator* block;  // packed B: round_up(columns, kTileColumns) * kDepth
};

// Packs `rows` rows of A by `depth` of the reduction into scratch.tile.
template <class Target, class Accumulator>
void pack_tile(const Operand<Target, Accumulator>& a, int64_t row, int64_t rows, int64_t k,
               int64_t depth, const PackScratch<Target, Accumulator>& scratch) {
  using Shape = GemmShape<Target::kIsa, Accumulator>;
  if (a.inner_is_reduction) {
    a.source->pack({row, rows, k, depth}, scratch.tile,
                   {Shape::kTileRowStride, Shape::kTileColumns});
    return;
  }
  constexpr int64_t kStride = PackScratch<Target, Accumulator>::kLanesOfRows;
  a.source->pack({k, depth, row, rows}, scratch.stage, {kStride, Shape::kTileColumns});
  transpose<Target>(scratch.stage, kStride, depth, kStride, scratch.tile, Shape::kTileRowStride);
}

// Packs `columns` columns of B by `depth` of the reduction into panels of kTileColumns.
template <class Target, class Accumulator>
void pack_panels(const Operand<Target, Accumulator>& b, int64_t column, int64_t columns, int64_t k,
                 int64_t depth, const PackScratch<Target, Accumulator>& scratch) {
  using Shape = GemmShape<Target::kIsa, Accumulator>;
  const int64_t panel_stride = depth * Shape::kTileColumns;
  const int64_t whole_vectors = round_up(columns, Shape::kLanes);
  if (!b.inner_is_reduction) {
    b.source->pack({k, depth, column, columns}, scratch.block, {Shape::kTileColumns, panel_stride});
  } else {
    for (int64_t j = 0; j < columns; j += Shape::kTileColumns) {
      const int64_t width = columns - j < Shape::kTileColumns ? columns - j : Shape::kTileColumns;
      Accumulator* const panel = scratch.block + j / Shape::kTileColumns * panel_stride;
      // 12 GB/s instead of 8 by way of the stage.
      const TileOfA<Accumulator> rows = b.source->rows_in_memory(column + j, width);
      if (rows.at != nullptr && k % rows.segment + depth <= rows.segment) {
        transpose<Target>(rows.element(k), rows.row_stride, width, depth, panel,
                          Shape::kTileColumns);
        continue;
      }
      b.source->pack({column + j, width, k, depth}, scratch.stage,
                     {Shape::kTileRowStride, Shape::kTileColumns});
      transpose<Target>(scratch.stage, Shape::kTileRowStride, width, depth, panel,
                        Shape::kTileColumns);
    }
  }
  // The columns past the edge that the last vector computes.
  const int64_t last = columns / Shape::kTileColumns;
  for (int64_t j = columns; j < whole_vectors; ++j) {
    Accumulator* const at = scratch.block + last * panel_stride + j % Shape::kTileColumns;
    for (int64_t d = 0; d < depth; ++d) at[d * Shape::kTileColumns] = 0;
  }
}

}  // namespace fastconv::cpu
