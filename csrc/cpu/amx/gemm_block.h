// One block of C on AMX: packed as for the vector units, then split into bfloat16 terms, then
// multiplied in tiles. An overload of gemm/frame.h's gemm_block for operands of the AMX target, so
// that the convolutions in front of it (conv2d/gather_gemm.h, weight_gradient_gemm.h) are the same
// for both. To be included under the AVX-512 pragma.
#pragma once

#include "cpu/amx/split.h"
#include "cpu/gemm/frame.h"
#include "cpu/gemm/vector_avx512.h"

namespace fastconv::cpu {
namespace {

// kTerms bfloat16 terms of every float: 1, 3 or 6 products for 1, 2 or 3 terms.
template <class TheTiles, int kTheTerms>
struct AmxTarget {
  static constexpr Isa kIsa = Isa::amx;
  using Tiles = TheTiles;
  static constexpr int kTerms = kTheTerms;

  template <class Accumulator>
  struct Vector;
};

// All but the products: those belong to the tiles.
template <class TheTiles, int kTheTerms>
template <class Accumulator>
struct AmxTarget<TheTiles, kTheTerms>::Vector : Avx512::Vector<Accumulator> {
  using Type = typename Avx512::Vector<Accumulator>::Type;
  static Type multiply_add(Type, Type, Type) = delete;
};

// The tile registers hold a state that the operating system must save with the thread, so it is
// held no longer than one block takes (0.12 us to set and release).
template <class Tiles>
class TileScope {
 public:
  TileScope() { Tiles::configure(); }
  ~TileScope() { Tiles::release(); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

}  // namespace

template <class Tiles, int kTerms>
struct PackScratch<AmxTarget<Tiles, kTerms>, float> {
  using Shape = GemmShape<Isa::amx, float>;
  static constexpr int64_t kLanesOfRows = Shape::kTileRows;
  static constexpr int64_t kTileElements = Shape::kTileRows * Shape::kTileRowStride;
  static constexpr int64_t kTilesElements = kTileElements;
  // What is to be transposed; then 32 rows of A and a whole block of B in bfloat16, and C.
  static constexpr int64_t kTransposedBytes = kTileElements * int64_t{sizeof(float)};
  static constexpr int64_t kRowsBytes = Shape::kTileRows * Shape::kDepth * kTerms * 2;
  static constexpr int64_t kColumnsBytes = kBlockColumns * Shape::kDepth * kTerms * 2;
  static constexpr int64_t kSumBytes = Shape::kTileRows * Shape::kTileColumns * 4;
  static constexpr int64_t kStageElements =
      (kTransposedBytes + kRowsBytes + kColumnsBytes + kSumBytes) / 4;

  float* tile;
  float* stage;
  float* block;

  std::byte* split_a() const { return reinterpret_cast<std::byte*>(stage) + kTransposedBytes; }
  std::byte* split_b() const { return split_a() + kRowsBytes; }
  float* sum() const { return reinterpret_cast<float*>(split_b() + kColumnsBytes); }
};

namespace {

// Where the terms of one step lie: the tile of (term, half) at terms + (2 * term + half) KiB.
inline const std::byte* tile_of(const std::byte* terms, int term, int half) {
  return terms + (2 * term + half) * kAmxTileBytes;
}

template <class Tiles, int kRowTiles, int kColumnTiles>
struct TileProduct {
  // Tiles 0 to 3 are C, row by row; 4 and 5 are A, 6 and 7 are B.
  static void zero() {
    Tiles::template zero<0>();
    if constexpr (kColumnTiles == 2) Tiles::template zero<1>();
    if constexpr (kRowTiles == 2) Tiles::template zero<2>();
    if constexpr (kRowTiles == 2 && kColumnTiles == 2) Tiles::template zero<3>();
  }
  static void load_a(const std::byte* step, int term) {
    Tiles::template load<4>(tile_of(step, term, 0), 64);
    if constexpr (kRowTiles == 2) Tiles::template load<5>(tile_of(step, term, 1), 64);
  }
  static void load_b(const std::byte* step, int term) {
    Tiles::template load<6>(tile_of(step, term, 0), 64);
    if constexpr (kColumnTiles == 2) Tiles::template load<7>(tile_of(step, term, 1), 64);
  }
  static void multiply() {
    Tiles::template multiply_add<0, 4, 6>();
    if constexpr (kColumnTiles == 2) Tiles::template multiply_add<1, 4, 7>();
    if constexpr (kRowTiles == 2) Tiles::template multiply_add<2, 5, 6>();
    if constexpr (kRowTiles == 2 && kColumnTiles == 2) Tiles::template multiply_add<3, 5, 7>();
  }
  static void store(float* to, int64_t stride) {
    const int64_t row_bytes = stride * int64_t{sizeof(float)};
    float* const below = to + kAmxTileRows * stride;
    Tiles::template store<0>(to, row_bytes);
    if constexpr (kColumnTiles == 2) Tiles::template store<1>(to + 16, row_bytes);
    if constexpr (kRowTiles == 2) Tiles::template store<2>(below, row_bytes);
    if constexpr (kRowTiles == 2 && kColumnTiles == 2) {
      Tiles::template store<3>(below + 16, row_bytes);
    }
  }

  // Of the products of three terms those below 2^-24 are left out, of two terms those below 2^-16.
  // Consecutive products share an operand, which is then loaded once: 14 loads for 24 products.
  template <int kTerms>
  static void run(int64_t steps, const std::byte* a, const std::byte* b, float* sum,
                  int64_t stride) {
    zero();
    for (int64_t step = 0; step < steps; ++step) {
      constexpr int kHigh = 0, kMiddle = 1, kLow = 2;
      if constexpr (kTerms == 1) {
        load_a(a, kHigh), load_b(b, kHigh), multiply();
      } else if constexpr (kTerms == 2) {
        load_a(a, kMiddle), load_b(b, kHigh), multiply();
        load_a(a, kHigh), multiply();
        load_b(b, kMiddle), multiply();
      } else {
        load_a(a, kLow), load_b(b, kHigh), multiply();
        load_a(a, kMiddle), multiply();
        load_a(a, kHigh), multiply();
        load_b(b, kLow), multiply();
        load_b(b, kMiddle), multiply();
        load_a(a, kMiddle), multiply();
      }
      a += 2 * kTerms * kAmxTileBytes;
      b += 2 * kTerms * kAmxTileBytes;
    }
    store(sum, stride);
  }
};

template <class Tiles, int kTerms>
void multiply_tiles(bool two_rows, bool two_columns, int64_t steps, const std::byte* a,
                    const std::byte* b, float* sum, int64_t stride) {
  if (two_rows && two_columns) {
    TileProduct<Tiles, 2, 2>::template run<kTerms>(steps, a, b, sum, stride);
  } else if (two_rows) {
    TileProduct<Tiles, 2, 1>::template run<kTerms>(steps, a, b, sum, stride);
  } else if (two_columns) {
    TileProduct<Tiles, 1, 2>::template run<kTerms>(steps, a, b, sum, stride);
  } else {
    TileProduct<Tiles, 1, 1>::template run<kTerms>(steps, a, b, sum, stride);
  }
}

// c = addend + sum, `rows` rows of `vectors` vectors.
inline void move_sum(const float* sum, int64_t sum_stride, int64_t rows, int64_t vectors,
                     const TileOfC<float>& c) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t v = 0; v < vectors; ++v) {
      __m512 x = _mm512_load_ps(sum + i * sum_stride + v * 16);
      if (c.addend != nullptr) {
        x = _mm512_add_ps(_mm512_loadu_ps(c.addend + i * c.addend_stride + v * 16), x);
      }
      _mm512_storeu_ps(c.at + i * c.stride + v * 16, x);
    }
  }
}

// The rows of scratch.tile as bfloat16 tiles, zeros beyond its edges.
template <class Tiles, int kTerms>
void split_tile(const PackScratch<AmxTarget<Tiles, kTerms>, float>& scratch, int64_t rows,
                int64_t depth) {
  using Shape = GemmShape<Isa::amx, float>;
  const int64_t whole = round_up(depth, kAmxStep);
  const int64_t halves = ceil_div(rows, kAmxTileRows);
  for (int64_t i = 0; i < halves * kAmxTileRows; ++i) {
    float* const row = scratch.tile + i * Shape::kTileRowStride;
    for (int64_t k = i < rows ? depth : 0; k < whole; ++k) row[k] = 0;
  }
  for (int64_t half = 0; half < halves; ++half) {
    split_rows<kTerms>(scratch.tile + half * kAmxTileRows * Shape::kTileRowStride,
                       Shape::kTileRowStride, whole, scratch.split_a() + half * kAmxTileBytes,
                       2 * kAmxTileBytes);
  }
}

}  // namespace

template <class Tiles, int kTerms>
void gemm_block(const Operand<AmxTarget<Tiles, kTerms>, float>& a,
                const Operand<AmxTarget<Tiles, kTerms>, float>& b, Range rows, Range columns,
                Range depth, const StartOfC<float>& start, const BlockOfC<float>& c,
                const PackScratch<AmxTarget<Tiles, kTerms>, float>& scratch) {
  using Shape = GemmShape<Isa::amx, float>;
  if (depth.size == 0) fill_from_start(c, rows, columns, start);
  const TileScope<Tiles> scope;
  const auto blocks = EvenParts::at_most(depth.size, Shape::kDepth, kAmxStep);
  const auto tiles = EvenParts::at_most(rows.size, Shape::kTileRows, 1);
  for (int64_t block = 0; block < blocks.parts; ++block) {
    const int64_t k = depth.begin + blocks.begin(block), k_size = blocks.size(block);
    const StartOfC<float> begin = block == 0 ? start : StartOfC<float>{c.data, c.stride, 1};
    const int64_t steps = ceil_div(k_size, kAmxStep);
    const int64_t panel_bytes = steps * kTerms * 2 * kAmxTileBytes;
    pack_panels(b, columns.begin, columns.size, k, k_size, scratch);
    for (int64_t vector = 0; vector * Shape::kLanes < columns.size; ++vector) {
      const int64_t panel = vector / 2, half = vector % 2;
      split_pairs<kTerms>(
          scratch.block + panel * k_size * Shape::kTileColumns + half * Shape::kLanes,
          Shape::kTileColumns, k_size,
          scratch.split_b() + panel * panel_bytes + half * kAmxTileBytes, 2 * kAmxTileBytes);
    }
    for (int64_t tile = 0; tile < tiles.parts; ++tile) {
      const int64_t i = tiles.begin(tile), height = tiles.size(tile);
      pack_tile(a, rows.begin + i, height, k, k_size, scratch);
      split_tile(scratch, height, k_size);
      for (int64_t j = 0; j < columns.size; j += Shape::kTileColumns) {
        const int64_t left = ceil_div(columns.size - j, Shape::kLanes);
        const int64_t vectors = left < 2 ? left : 2;
        multiply_tiles<Tiles, kTerms>(height > kAmxTileRows, vectors == 2, steps, scratch.split_a(),
                                      scratch.split_b() + j / Shape::kTileColumns * panel_bytes,
                                      scratch.sum(), Shape::kTileColumns);
        move_sum(scratch.sum(), Shape::kTileColumns, height, vectors,
                 {c.data + i * c.stride + j, c.stride, begin.from(i, j), begin.row_stride});
      }
    }
  }
}

}  // namespace fastconv::cpu
