// Products of tiles. To be included under the AVX-512 pragma.
#pragma once

#include <type_traits>

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
  template <int kTerms, int kProducts, class Work>
  static void run(int64_t steps, const StepsOfA& a, const std::byte* b, Work& beside, float* sum,
                  int64_t stride) {
    beside.begin(steps * kProducts);
    zero();
    for (int64_t step = 0; step < steps; ++step, b += 2 * kTerms * kAmxTileBytes) {
      const auto product = [&](auto index) {
        multiply();
        beside.template part<kTerms, kProducts, index.value>(step, steps);
      };
      constexpr int kHigh = 0, kMiddle = 1, kLow = 2;
      if constexpr (kTerms == 1) {
        load_a(a, step, kHigh), load_b(b, kHigh), product(Nth<0>{});
      } else if constexpr (kTerms == 2) {
        load_a(a, step, kMiddle), load_b(b, kHigh), product(Nth<0>{});
        load_a(a, step, kHigh), product(Nth<1>{});
        load_b(b, kMiddle), product(Nth<2>{});
        if constexpr (kProducts == 4) load_a(a, step, kMiddle), product(Nth<3>{});
      } else {
        load_a(a, step, kLow), load_b(b, kHigh), product(Nth<0>{});
        load_a(a, step, kMiddle), product(Nth<1>{});
        load_a(a, step, kHigh), product(Nth<2>{});
        load_b(b, kLow), product(Nth<3>{});
        load_b(b, kMiddle), product(Nth<4>{});
        load_a(a, step, kMiddle), product(Nth<5>{});
      }
    }
    store(sum, stride);
  }

 private:
  template <int kIndex>
  using Nth = std::integral_constant<int, kIndex>;
};

// Of each half of the columns of B the part of every step that is not zero, which may be all that
// is formed.
struct PartsOfSteps {
  Range halves[2];

  static constexpr PartsOfSteps all() { return {{{0, kAmxStep}, {0, kAmxStep}}}; }
};

// How a kind of tiles forms a product of up to 32 rows of A with up to 32 columns of B, whose steps
// follow one another, into `sum`: in registers that hold whole tiles, or as its specialisation
// says.
template <class Tiles>
struct TileProducts {
  template <int kTerms, int kProducts, class Work>
  static void run(int64_t rows, int64_t columns, int64_t depth, const PartsOfSteps& /*parts*/,
                  const StepsOfA& a, const std::byte* b, Work& beside, float* sum, int64_t stride) {
    const int64_t steps = ceil_div(depth, kAmxStep);
    const auto run = [&](auto product) {
      decltype(product)::template run<kTerms, kProducts>(steps, a, b, beside, sum, stride);
    };
    const bool two_rows = rows > kAmxTileRows, two_columns = columns > kAmxTileRows;
    if (two_rows && two_columns) {
      run(TileProduct<Tiles, 2, 2>{});
    } else if (two_rows) {
      run(TileProduct<Tiles, 2, 1>{});
    } else if (two_columns) {
      run(TileProduct<Tiles, 1, 2>{});
    } else {
      run(TileProduct<Tiles, 1, 1>{});
    }
  }
};

// beside: one of beside_products.h.
template <class Target, class Work>
void multiply_tiles(int64_t rows, int64_t columns, int64_t depth, const PartsOfSteps& parts,
                    const StepsOfA& a, const std::byte* b, Work& beside, float* sum,
                    int64_t stride) {
  TileProducts<typename Target::Tiles>::template run<Target::kTerms, Target::kProducts>(
      rows, columns, depth, parts, a, b, beside, sum, stride);
}

}  // namespace
}  // namespace fastconv::cpu
