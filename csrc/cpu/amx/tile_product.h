// Products of tiles. To be included under the AVX-512 pragma.
#pragma once

#include "cpu/amx/split.h"
#include "cpu/gemm/blocking.h"
#include "cpu/gemm/vector_avx512.h"

namespace fastconv::cpu {
namespace {

// 32 rows of A: where each step of the reduction lies, and how far the rows, the two halves and the
// terms of one step are apart.
struct StepsOfA {
  static constexpr int64_t kMost = 32;

  const std::byte* steps[kMost];
  int64_t row_bytes, half_bytes, term_bytes;

  // As tiles, each step after the one before it.
  static StepsOfA of_tiles(const std::byte* tiles, int64_t steps, int64_t step_bytes) {
    StepsOfA a{{}, 64, kAmxTileBytes, 2 * kAmxTileBytes};
    for (int64_t step = 0; step < steps; ++step) a.steps[step] = tiles + step * step_bytes;
    return a;
  }
  // As rows of the whole reduction, of one term.
  static StepsOfA of_rows(const bfloat16* rows, int64_t stride, int64_t steps) {
    const int64_t row_bytes = stride * int64_t{sizeof(bfloat16)};
    StepsOfA a{{}, row_bytes, kAmxTileRows * row_bytes, 0};
    for (int64_t step = 0; step < steps; ++step) {
      a.steps[step] = reinterpret_cast<const std::byte*>(rows + step * kAmxStep);
    }
    return a;
  }
};

template <class Tiles, int kRowTiles, int kColumnTiles>
struct TileProduct {
  // Tiles 0 to 3 are C, row by row; 4 and 5 are A, 6 and 7 are B.
  static void zero() {
    Tiles::template zero<0>();
    if constexpr (kColumnTiles == 2) Tiles::template zero<1>();
    if constexpr (kRowTiles == 2) Tiles::template zero<2>();
    if constexpr (kRowTiles == 2 && kColumnTiles == 2) Tiles::template zero<3>();
  }
  static void load_a(const StepsOfA& a, int64_t step, int term) {
    const std::byte* const at = a.steps[step] + term * a.term_bytes;
    Tiles::template load<4>(at, a.row_bytes);
    if constexpr (kRowTiles == 2) Tiles::template load<5>(at + a.half_bytes, a.row_bytes);
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

  // Of three terms the products below 2^-24 are left out, of two those below 2^-16 but where four
  // products are asked for. Consecutive products share an operand, which is then loaded once: 14
  // loads for 24 products.
  template <int kTerms, int kProducts>
  static void run(int64_t steps, const StepsOfA& a, const std::byte* b, float* sum,
                  int64_t stride) {
    zero();
    for (int64_t step = 0; step < steps; ++step, b += 2 * kTerms * kAmxTileBytes) {
      constexpr int kHigh = 0, kMiddle = 1, kLow = 2;
      if constexpr (kTerms == 1) {
        load_a(a, step, kHigh), load_b(b, kHigh), multiply();
      } else if constexpr (kTerms == 2) {
        load_a(a, step, kMiddle), load_b(b, kHigh), multiply();
        load_a(a, step, kHigh), multiply();
        load_b(b, kMiddle), multiply();
        if constexpr (kProducts == 4) load_a(a, step, kMiddle), multiply();
      } else {
        load_a(a, step, kLow), load_b(b, kHigh), multiply();
        load_a(a, step, kMiddle), multiply();
        load_a(a, step, kHigh), multiply();
        load_b(b, kLow), multiply();
        load_b(b, kMiddle), multiply();
        load_a(a, step, kMiddle), multiply();
      }
    }
    store(sum, stride);
  }
};

// Up to 32 rows of A with up to 32 columns of B, whose steps follow one another.
template <class Target>
void multiply_tiles(bool two_rows, bool two_columns, int64_t steps, const StepsOfA& a,
                    const std::byte* b, float* sum, int64_t stride) {
  using Tiles = typename Target::Tiles;
  constexpr int kTerms = Target::kTerms, kProducts = Target::kProducts;
  if (two_rows && two_columns) {
    TileProduct<Tiles, 2, 2>::template run<kTerms, kProducts>(steps, a, b, sum, stride);
  } else if (two_rows) {
    TileProduct<Tiles, 2, 1>::template run<kTerms, kProducts>(steps, a, b, sum, stride);
  } else if (two_columns) {
    TileProduct<Tiles, 1, 2>::template run<kTerms, kProducts>(steps, a, b, sum, stride);
  } else {
    TileProduct<Tiles, 1, 1>::template run<kTerms, kProducts>(steps, a, b, sum, stride);
  }
}

// to[i][j] = addend[i][j] + sum[i][j], rounded once, for `rows` x `columns` of them. The addend has
// room for whole vectors; without one its `at` is null.
template <class T>
void move_sum(const float* sum, int64_t sum_stride, int64_t rows, int64_t columns,
              const float* addend, int64_t addend_stride, T* to, int64_t to_stride) {
  using Vector = Avx512::Vector<float>;
  for (int64_t j = 0; j < columns; j += Vector::kLanes) {
    const uint32_t lanes = first_lanes(columns - j) & first_lanes(Vector::kLanes);
    for (int64_t i = 0; i < rows; ++i) {
      __m512 x = _mm512_load_ps(sum + i * sum_stride + j);
      if (addend != nullptr) {
        x = _mm512_add_ps(_mm512_loadu_ps(addend + i * addend_stride + j), x);
      }
      Vector::store_lanes(to + i * to_stride + j, x, lanes);
    }
  }
}

}  // namespace
}  // namespace fastconv::cpu
