// From what a source packs to the tiles of A and B: 32 rows, or 32 columns, for one step of the
// reduction after another. To be included under the AVX-512 pragma.
#pragma once

#include "cpu/amx/split.h"
#include "cpu/amx/target.h"

namespace fastconv::cpu {
namespace {

// Rows of A as packed for the vector units: zeros up to a whole step, and to whole tiles.
template <class Element>
void fill_edges(Element* tile, int64_t row_stride, int64_t rows, int64_t depth) {
  using Vector = MovedVector<Element>;
  const int64_t whole = round_up(depth, kAmxStep), whole_rows = round_up(rows, kAmxTileRows);
  for (int64_t i = 0; i < whole_rows; ++i) {
    const int64_t used = i < rows ? depth : 0;
    for (int64_t k = used; k < whole; k += Vector::kLanes) {
      Vector::store_lanes(tile + i * row_stride + k, Vector::zero(), first_lanes(whole - k));
    }
  }
}

// Rows of A that lie in memory, if each step of them lies in one run of whole rows.
template <class Element>
TileOfA<Element> whole_steps_of(const TileOfA<Element>& at, Range rows, Range k, int64_t step) {
  if (at.at == nullptr || rows.size % kAmxTileRows != 0 || k.size % step != 0) return {};
  const bool one_segment = k.begin / at.segment == (k.begin + k.size - 1) / at.segment;
  const bool whole_segments = at.segment % step == 0 && k.begin % step == 0;
  return one_segment || whole_segments ? at : TileOfA<Element>{};
}

// Up to 32 rows of A, and of the reduction the part k; zeros beyond its edges.
template <class Tiles, int kTerms, int kProducts>
void tiles_of_rows(const Operand<AmxTarget<Tiles, kTerms, kProducts>, float>& a, Range rows,
                   Range k, const PackScratch<AmxTarget<Tiles, kTerms, kProducts>, float>& scratch,
                   std::byte* to) {
  using Shape = GemmShape<Isa::amx, float>;
  // Read once, whichever sets of L1 they fall into: packed first, 512 channels took 1.1 times as
  // long.
  const TileOfA<float> in_place =
      a.inner_is_reduction
          ? whole_steps_of(a.source->rows_in_memory(rows.begin, rows.size), rows, k, kAmxStep)
          : TileOfA<float>{};
  if (in_place.at == nullptr) {
    pack_tile(a, rows.begin, rows.size, k.begin, k.size, scratch);
    fill_edges(scratch.tile, Shape::kTileRowStride, rows.size, k.size);
  }
  for (int64_t done = 0; done < k.size; done += kAmxStep, to += kTerms * 2 * kAmxTileBytes) {
    const bool packed = in_place.at == nullptr;
    const float* const from = packed ? scratch.tile + done : in_place.element(k.begin + done);
    const int64_t stride = packed ? Shape::kTileRowStride : in_place.row_stride;
    for (int half = 0; half * kAmxTileRows < rows.size; ++half) {
      split_rows<typename Tiles::Terms, kTerms>(from + half * kAmxTileRows * stride, stride, to,
                                                half);
    }
  }
}

// Columns of B, panel by panel of 32, each panel_bytes after the one before it.
template <class Tiles, int kTerms, int kProducts>
void tiles_of_columns(const Operand<AmxTarget<Tiles, kTerms, kProducts>, float>& b, Range columns,
                      Range k,
                      const PackScratch<AmxTarget<Tiles, kTerms, kProducts>, float>& scratch,
                      std::byte* to, int64_t panel_bytes) {
  using Shape = GemmShape<Isa::amx, float>;
  pack_panels(b, columns.begin, columns.size, k.begin, k.size, scratch);
  for (int64_t vector = 0; vector * Shape::kLanes < columns.size; ++vector) {
    const int64_t panel = vector / 2;
    const int half = static_cast<int>(vector % 2);
    split_pairs<typename Tiles::Terms, kTerms>(
        scratch.block + panel * k.size * Shape::kTileColumns + half * Shape::kLanes,
        Shape::kTileColumns, k.size, to + panel * panel_bytes, half);
  }
}

// bfloat16 need no splitting, only their places: pairs of the reduction stay together, so that a
// tile of B is a tile of A transposed as 16 x 16 pairs.

// Two rows of 32 columns, each element beside the one below it.
inline void interleave(const bfloat16* even, const bfloat16* odd, void* first, void* second) {
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,
                                       39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  const __m512i a = _mm512_load_si512(even);
  const __m512i b = odd == nullptr ? _mm512_setzero_si512() : _mm512_load_si512(odd);
  _mm512_store_si512(first, _mm512_permutex2var_epi16(a, low, b));
  _mm512_store_si512(second, _mm512_permutex2var_epi16(a, high, b));
}

// The tiles of 32 columns of B from `depth` rows of them; zeros below.
inline void interleave_rows(const bfloat16* from, int64_t depth, std::byte* to) {
  for (int64_t step = 0; step * kAmxStep < depth; ++step, to += 2 * kAmxTileBytes) {
    for (int64_t pair = 0; pair < kAmxStep / 2; ++pair) {
      const int64_t k = step * kAmxStep + 2 * pair;
      std::byte* const at = to + pair * 64;
      if (k < depth) {
        const bfloat16* const even = from + k * 32;
        interleave(even, k + 1 < depth ? even + 32 : nullptr, at, at + kAmxTileBytes);
      } else {
        _mm512_store_si512(at, _mm512_setzero_si512());
        _mm512_store_si512(at + kAmxTileBytes, _mm512_setzero_si512());
      }
    }
  }
}

inline void transpose_pairs(const void* from, int64_t row_bytes, void* to) {
  constexpr int64_t kPair = 4;
  Avx512::Vector<float>::transpose(static_cast<const float*>(from), row_bytes / kPair,
                                   static_cast<float*>(to), 16);
}

// Rows of A whose reduction is contiguous, into scratch.tile.
template <class Tiles>
void pack_rows(const Operand<AmxTarget<Tiles, 1, 1>, bfloat16>& a, Range rows, Range k,
               const PackScratch<AmxTarget<Tiles, 1, 1>, bfloat16>& scratch) {
  constexpr int64_t kStride = GemmShape<Isa::amx, bfloat16>::kTileRowStride;
  a.source->pack({rows.begin, rows.size, k.begin, k.size}, scratch.tile, {kStride, 32});
  fill_edges(scratch.tile, kStride, rows.size, k.size);
}

template <class Tiles>
void tiles_of_rows(const Operand<AmxTarget<Tiles, 1, 1>, bfloat16>& a, Range rows, Range k,
                   const PackScratch<AmxTarget<Tiles, 1, 1>, bfloat16>& scratch, std::byte* to) {
  using Shape = GemmShape<Isa::amx, bfloat16>;
  const int64_t steps = ceil_div(k.size, kAmxStep);
  if (!a.inner_is_reduction) {
    a.source->pack({k.begin, k.size, rows.begin, rows.size}, scratch.stage,
                   {Shape::kTileRows, Shape::kTileColumns});
    alignas(64) std::byte turned[2 * kAmxTileBytes];
    for (int64_t step = 0; step < steps; ++step) {
      const int64_t left = k.size - step * kAmxStep;
      interleave_rows(scratch.stage + step * kAmxStep * Shape::kTileRows,
                      left < kAmxStep ? left : kAmxStep, turned);
      for (int half = 0; half < 2; ++half) {
        transpose_pairs(turned + half * kAmxTileBytes, 64, to + (2 * step + half) * kAmxTileBytes);
      }
    }
    return;
  }
  pack_rows(a, rows, k, scratch);
  for (int64_t row = 0; row < round_up(rows.size, kAmxTileRows); ++row) {
    const bfloat16* const from = scratch.tile + row * Shape::kTileRowStride;
    std::byte* const at = to + row / kAmxTileRows * kAmxTileBytes + row % kAmxTileRows * 64;
    for (int64_t step = 0; step < steps; ++step) {
      _mm512_store_si512(at + step * 2 * kAmxTileBytes, _mm512_load_si512(from + step * kAmxStep));
    }
  }
}

template <class Tiles>
void tiles_of_columns(const Operand<AmxTarget<Tiles, 1, 1>, bfloat16>& b, Range columns, Range k,
                      const PackScratch<AmxTarget<Tiles, 1, 1>, bfloat16>& scratch, std::byte* to,
                      int64_t panel_bytes) {
  using Shape = GemmShape<Isa::amx, bfloat16>;
  constexpr int64_t kWidth = Shape::kTileColumns;
  if (!b.inner_is_reduction) {
    b.source->pack({k.begin, k.size, columns.begin, columns.size}, scratch.block,
                   {kWidth, k.size * kWidth});
    for (int64_t j = 0; j < columns.size; j += kWidth, to += panel_bytes) {
      interleave_rows(scratch.block + j * k.size, k.size, to);
    }
    return;
  }
  for (int64_t j = 0; j < columns.size; j += kWidth, to += panel_bytes) {
    const int64_t width = columns.size - j < kWidth ? columns.size - j : kWidth;
    b.source->pack({columns.begin + j, width, k.begin, k.size}, scratch.stage,
                   {Shape::kTileRowStride, kWidth});
    fill_edges(scratch.stage, Shape::kTileRowStride, width, k.size);
    for (int64_t step = 0; step * kAmxStep < k.size; ++step) {
      for (int64_t half = 0; half * kAmxTileRows < width; ++half) {
        transpose_pairs(
            scratch.stage + half * kAmxTileRows * Shape::kTileRowStride + step * kAmxStep,
            Shape::kTileRowStride * int64_t{sizeof(bfloat16)},
            to + (2 * step + half) * kAmxTileBytes);
      }
    }
  }
}

}  // namespace
}  // namespace fastconv::cpu
