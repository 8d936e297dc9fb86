// The blocking numbers of the GEMM: one row per instruction set, all of them in this file.
//
//   C [rows x columns] += A [rows x depth] * B [depth x columns]
//
// The micro-kernel holds a tile of C in registers. An A tile (tile_rows x depth) lives in L1, the
// packed block of B (depth x block_columns) in L2 beside the block of C it updates.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace fastconv::cpu {

struct Blocking {
  Isa isa;
  int vector_bytes;
  // The register tile: tile_rows x tile_vectors accumulators, tile_vectors of B and one broadcast
  // of A must fit in the register file (16 registers, 32 with AVX-512).
  int tile_rows;
  int tile_vectors;
};

constexpr Blocking kBlocking[] = {
    {Isa::scalar, 16, 4, 2},   //  8 + 2 + 1 of 16
    {Isa::avx2, 32, 6, 2},     // 12 + 2 + 1 of 16
    {Isa::avx512, 64, 14, 2},  // 28 + 2 + 1 of 32
};

constexpr const Blocking& blocking_for(Isa isa) {
  for (const Blocking& row : kBlocking) {
    if (row.isa == isa) return row;
  }
  return kBlocking[0];
}

// The depth of packed blocks: 256 floats. 128 lost up to 20 % in the weight gradient (more passes
// over C); 384 lost 5 % on 14 x 14 planes (the A tile and the panel outgrow L1).
constexpr int64_t kDepthBytes = 1024;

// One running sum covers at most this much of the reduction before it is added to C. Against
// float64, sums of 384 had up to 2.4 times torch's error (1x1 with 1024 channels, weight gradients
// over 196 pixels), and one sum over 4608 five times.
constexpr int64_t kLongestSum = 128;

// The distance between rows of an A tile. An odd number of cache lines: the rows then fall into
// different sets of the L1 cache.
constexpr int64_t kTileRowBytes = kDepthBytes + 64;

// Packed B, and C: 256 KiB each of the 1 MiB of L2.
constexpr int64_t kBlockColumns = 256;
constexpr int64_t kBlockOfCBytes = 256 * 1024;

// The numbers above for one instruction set and one type of accumulator, counted in elements.
template <Isa isa, class Accumulator>
struct GemmShape {
  static constexpr int64_t kLanes = blocking_for(isa).vector_bytes / sizeof(Accumulator);
  static constexpr int kTileRows = blocking_for(isa).tile_rows;
  static constexpr int kTileVectors = blocking_for(isa).tile_vectors;
  static constexpr int64_t kTileColumns = kLanes * kTileVectors;
  static constexpr int64_t kDepth = kDepthBytes / sizeof(Accumulator);
  static constexpr int64_t kTileRowStride = kTileRowBytes / sizeof(Accumulator);
  static constexpr int64_t kBlockOfC = kBlockOfCBytes / sizeof(Accumulator);
};

// Not by (a + b - 1) / b: strides may be as large as an int64 is.
constexpr int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b > 0 ? 1 : 0); }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// A range cut into `parts` pieces whose sizes differ by at most one `unit` (the last may be
// shorter).
struct EvenParts {
  int64_t extent, unit, parts;

  // As few parts as keep each at most `largest` long.
  static constexpr EvenParts at_most(int64_t extent, int64_t largest, int64_t unit) {
    const int64_t units = ceil_div(extent, unit);
    const int64_t most = largest / unit > 0 ? largest / unit : 1;
    return {extent, unit, ceil_div(units, most)};
  }
  constexpr int64_t begin(int64_t part) const;
  constexpr int64_t size(int64_t part) const { return begin(part + 1) - begin(part); }
  constexpr int64_t largest() const {
    if (parts == 0) return 0;
    const int64_t size = ceil_div(ceil_div(extent, unit), parts) * unit;
    return size < extent ? size : extent;
  }
};

// The parts of an EvenParts, the divisions done once for all of them. In loops around a
// micro-kernel they took 11 % of the time: each of 64 bits lasts 40 cycles.
class Cuts {
 public:
  explicit constexpr Cuts(const EvenParts& whole) : parts(whole.parts), extent_(whole.extent) {
    if (parts == 0) return;
    const int64_t units = ceil_div(whole.extent, whole.unit);
    unit_ = whole.unit;
    least_ = units / parts * unit_;
    longer_ = units % parts;
  }
  constexpr int64_t begin(int64_t part) const {
    const int64_t at = least_ * part + (part < longer_ ? part : longer_) * unit_;
    return at < extent_ ? at : extent_;
  }
  constexpr int64_t size(int64_t part) const { return begin(part + 1) - begin(part); }
  constexpr int64_t largest() const { return parts == 0 ? 0 : size(0); }

  int64_t parts;

 private:
  int64_t extent_, unit_ = 0;
  int64_t least_ = 0, longer_ = 0;  // of the shorter parts; how many are a unit longer
};

constexpr int64_t EvenParts::begin(int64_t part) const { return Cuts(*this).begin(part); }

struct Range {
  int64_t begin, size;
};

// Rows cut into tiles, none of them over the end of a line where the rows are whole lines.
class RowTiles {
 public:
  constexpr RowTiles(Range rows, int64_t line, int64_t largest)
      : line_(line > 0 && rows.begin % line == 0 && rows.size % line == 0 ? line : rows.size),
        tiles_(EvenParts::at_most(line_, largest, 1)) {
    if (rows.size > 0) parts = rows.size / line_ * tiles_.parts;
  }

  // Counted from the first row.
  constexpr Range operator[](int64_t tile) const {
    if (parts == tiles_.parts) return {tiles_.begin(tile), tiles_.size(tile)};
    const auto of_line = static_cast<uint32_t>(tiles_.parts);  // in 64 bits it takes 40 cycles
    const int64_t line = static_cast<uint32_t>(tile) / of_line, part = tile - line * of_line;
    return {line * line_ + tiles_.begin(part), tiles_.size(part)};
  }

  int64_t parts = 0;

 private:
  int64_t line_;
  Cuts tiles_;  // of a line
};

// Bits of the first `count` lanes.
constexpr uint32_t first_lanes(int64_t count) {
  return count >= 32 ? ~0u : (1u << static_cast<unsigned>(count)) - 1u;
}

// A tile of C, and what its sums are added to: the elements of another tile, or zero.
template <class Accumulator>
struct TileOfC {
  Accumulator* at;
  int64_t stride;
  const Accumulator* addend;
  int64_t addend_stride;
};

// C, row by row, every row with room for whole vectors: scratch, or the tensor itself.
template <class Accumulator>
struct BlockOfC {
  Accumulator* data;
  int64_t stride;

  // Rows an odd number of cache lines apart fall into different sets of the L1 cache.
  static constexpr int64_t stride_for(int64_t columns) {
    constexpr int64_t kLine = 64 / sizeof(Accumulator);
    return (ceil_div(columns, kLine) | 1) * kLine;
  }
};

// The block of C in the tensor, whose rows are contiguous, where it has such.
template <class T>
struct OutputRows {
  T* at = nullptr;
  int64_t stride = 0;
};

// Rows of A as they lie in memory, packed or in the tensor itself: element (i, k) is
//   at[i * row_stride + offsets[k / segment] + k % segment],
// the reduction cut into segments of neighbours, such as the channels of one tap.
template <class Accumulator>
struct TileOfA {
  const Accumulator* at;
  int64_t row_stride;
  int64_t segment;
  const int64_t* offsets;

  static constexpr int64_t kNoOffset = 0;
  static TileOfA of_one_segment(const Accumulator* at, int64_t row_stride) {
    return {at, row_stride, INT64_MAX, &kNoOffset};
  }
  // Element k of the first row.
  const Accumulator* element(int64_t k) const { return at + offsets[k / segment] + k % segment; }
};

// Columns of B as they lie in memory, packed or in the tensor itself: element (k, j) is
// at[k * stride + j].
template <class Accumulator>
struct PanelOfB {
  const Accumulator* at;
  int64_t stride;
};

// What a micro-kernel has fetched into the caches as it goes, two lines for each step of the
// reduction: it may lie outside any tensor. After every kSteps steps it goes on `jump` behind where
// those began.
template <class Accumulator>
struct Ahead {
  static constexpr int64_t kLine = 64 / sizeof(Accumulator);
  static constexpr int64_t kSteps = 16;

  const Accumulator *at, *also_at;
  int64_t stride, jump;

  // The lines of a row of a panel, by the last element of each. Where rows are not aligned, the
  // line in front of them is the panel before's.
  static constexpr int64_t last_of_line(int64_t line) { return (line + 1) * kLine - 1; }
  static Ahead of_line(const Accumulator* at, int64_t line, int64_t stride) {
    return {at + last_of_line(line), at + last_of_line(line), stride, kSteps * stride};
  }
  // The panel's own rows, from L2, 8 steps before they are wanted: 5 % of the kernel's time.
  static Ahead in_panel(const PanelOfB<Accumulator>& panel) {
    const Accumulator* const at = panel.at + 8 * panel.stride;
    return {at + last_of_line(0), at + last_of_line(1), panel.stride, kSteps * panel.stride};
  }
  // The rows of a tile of A, line by line.
  static Ahead in_rows(const Accumulator* at, int64_t row_stride) {
    return {at, at, row_stride, kLine};
  }
};

// Whether so many rows, so far apart, stay in L1 together: every 4 KiB fall into one set of its
// eight lines (twelve in newer cores), so that 14 rows 4 KiB apart overflow one. 2 KiB apart they
// lie in two, and a copy of them took 1.1 to 1.35 times as long.
template <class Accumulator>
constexpr bool rows_share_l1(int64_t rows, int64_t row_stride) {
  constexpr int64_t kWay = 4096, kLines = 8;
  const int64_t apart = row_stride * int64_t{sizeof(Accumulator)} | kWay;
  return rows * (apart & -apart) <= kLines * kWay;
}

// What the sums of a block of C start from: element (i, j) is at[i * row_stride + j *
// column_stride], with room for whole vectors, or zero where at is null.
template <class Accumulator>
struct StartOfC {
  const Accumulator* at = nullptr;
  int64_t row_stride = 0, column_stride = 0;

  const Accumulator* from(int64_t i, int64_t j) const {
    return at == nullptr ? nullptr : at + i * row_stride + j * column_stride;
  }
};

// C where there is nothing to sum.
template <class Accumulator>
void fill_from_start(const BlockOfC<Accumulator>& c, Range rows, Range columns,
                     const StartOfC<Accumulator>& start) {
  for (int64_t i = 0; i < rows.size; ++i) {
    for (int64_t j = 0; j < columns.size; ++j) {
      c.data[i * c.stride + j] = start.at == nullptr ? Accumulator{0} : *start.from(i, j);
    }
  }
}

}  // namespace fastconv::cpu
