// Products of tiles of one term by AVX512_BF16: for CPUs that have it and no AMX, and in place of
// tiles.h. One VDPBF16PS does 32 multiply-adds of bfloat16, twice as many as an FMA of floats. To
// be included under the pragma for AVX-512 with AVX512_BF16.
#pragma once

#include <cstdint>
#include <cstring>

#include "cpu/amx/hardware_terms.h"
#include "cpu/amx/target.h"
#include "cpu/amx/tile_product.h"
#include "cpu/gemm/micro_kernel.h"
#include "cpu/isa.h"

namespace fastconv::cpu {
namespace {

// The operands lie as tiles do: rows of A as pairs of the reduction, and for each pair a line of 16
// columns of B. VDPBF16PS knows no denormals either.
struct VectorTiles {
  static constexpr Isa kIsa = Isa::avx512_bf16;
  using Terms = HardwareTerms;

  // Vector registers are always there.
  static void configure(int64_t /*step*/) {}
  static void release() {}
};

inline __m512bh as_pairs(__m512i x) { return reinterpret_cast<__m512bh>(x); }

// 12 rows of two vectors of sums, two of B and one of A.
constexpr int kMostRowsOfPairs = 12;

// Of the reduction that one chain of additions adds up, before it goes into `sum`: as much as in
// floats, for whose sums (float32 under 'bf16') it is, and so little that the lines of B stay in L1
// for all rows.
constexpr int64_t kStepsOfPairs = 8;

// sum = A[rows, depth] * B[depth, kVectors * 16], or that added to it, in one chain for each
// element, of every step the pairs `part` of the reduction alone.
template <int kRows, int kVectors>
void multiply_pairs(const StepsOfA& a, int64_t row, Range depth, Range part, const std::byte* b,
                    bool adds, float* sum, int64_t stride) {
  constexpr int64_t kPairs = kAmxStep / 2;
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums[i][v] = _mm512_setzero_ps();
  }
  // Rows are as far apart at the border of two tiles as within one.
  const int64_t row_stride = a.row_bytes / int64_t{sizeof(bfloat16)};
  const std::byte* const* step = a.steps + depth.begin / kAmxStep;
  b += depth.begin / kAmxStep * 2 * kAmxTileBytes;
  for (int64_t left = ceil_div(depth.size, 2); left > 0; left -= kPairs) {
    RowPointers<VectorTiles, bfloat16, kRows> rows(
        reinterpret_cast<const bfloat16*>(*step++ + row * a.row_bytes) + 2 * part.begin,
        row_stride);
    const std::byte* b_of_pair = b + part.begin * 64;
    const int64_t part_end = part.begin + part.size, end = left < part_end ? left : part_end;
    for (int64_t pair = part.begin; pair < end; ++pair, b_of_pair += 64) {
      __m512bh b_k[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        b_k[v] = as_pairs(_mm512_loadu_si512(b_of_pair + v * kAmxTileBytes));
      }
#pragma GCC unroll 12
      for (int i = 0; i < kRows; ++i) {
        int32_t pair_of_a;
        std::memcpy(&pair_of_a, rows.row(i), sizeof pair_of_a);
        const __m512bh a_ik = as_pairs(_mm512_set1_epi32(pair_of_a));
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) {
          sums[i][v] = _mm512_dpbf16_ps(sums[i][v], a_ik, b_k[v]);
        }
      }
      rows.advance(2);
    }
    b += 2 * kAmxTileBytes;
  }
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      float* const to = sum + i * stride + v * 16;
      if (adds) sums[i][v] = _mm512_add_ps(_mm512_loadu_ps(to), sums[i][v]);
      _mm512_storeu_ps(to, sums[i][v]);
    }
  }
}

using PairProduct = void (*)(const StepsOfA& a, int64_t row, Range depth, Range part,
                             const std::byte* b, bool adds, float* sum, int64_t stride);

// at[rows - 1][vectors - 1].
struct PairProductTable {
  PairProduct at[kMostRowsOfPairs][2] = {};

  constexpr PairProductTable() { fill<kMostRowsOfPairs>(); }

 private:
  template <int kRows>
  constexpr void fill() {
    at[kRows - 1][0] = multiply_pairs<kRows, 1>;
    at[kRows - 1][1] = multiply_pairs<kRows, 2>;
    if constexpr (kRows > 1) fill<kRows - 1>();
  }
};
constexpr PairProductTable kPairProducts;

template <>
struct TileProducts<VectorTiles> {
  template <int kTerms, int kProducts, class Work>
  static void run(int64_t rows, int64_t columns, int64_t depth, const PartsOfSteps& parts,
                  const StepsOfA& a, const std::byte* b, Work& beside, float* sum, int64_t stride) {
    static_assert(kTerms == 1 && kProducts == 1);
    const int64_t steps = ceil_div(depth, kAmxStep);
    beside.begin(steps);
    for (int64_t step = 0; step < steps; ++step) {
      beside.template part<kTerms, kProducts, 0>(step, steps);
    }
    const Range left = pairs_of(parts.halves[0]), right = pairs_of(parts.halves[1]);
    if (columns <= 16) {
      multiply(rows, 1, depth, left, a, b, sum, stride);
    } else if (left.begin == right.begin && left.size == right.size) {
      multiply(rows, 2, depth, left, a, b, sum, stride);
    } else {
      multiply(rows, 1, depth, left, a, b, sum, stride);
      multiply(rows, 1, depth, right, a, b + kAmxTileBytes, sum + 16, stride);
    }
  }

 private:
  static Range pairs_of(Range part) {
    const int64_t begin = part.begin / 2;
    return {begin, ceil_div(part.begin + part.size, 2) - begin};
  }
  static void multiply(int64_t rows, int64_t vectors, int64_t depth, Range part, const StepsOfA& a,
                       const std::byte* b, float* sum, int64_t stride) {
    const auto blocks = EvenParts::at_most(rows, kMostRowsOfPairs, 1);
    const auto chains = EvenParts::at_most(depth, kStepsOfPairs * kAmxStep, kAmxStep);
    for (int64_t chain = 0; chain < chains.parts; ++chain) {
      const Range of_depth{chains.begin(chain), chains.size(chain)};
      for (int64_t block = 0; block < blocks.parts; ++block) {
        const int64_t row = blocks.begin(block);
        kPairProducts.at[blocks.size(block) - 1][vectors - 1](a, row, of_depth, part, b, chain > 0,
                                                              sum + row * stride, stride);
      }
    }
  }
};

}  // namespace
}  // namespace fastconv::cpu
