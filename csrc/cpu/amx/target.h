// AMX as a target of the GEMM: what is packed and by which vectors. To be included under the
// AVX-512 pragma.
#pragma once

#include <type_traits>

#include "cpu/amx/blocking.h"
#include "cpu/gemm/packing.h"
#include "cpu/gemm/vector_avx512.h"

namespace fastconv::cpu {
namespace {

// All but the products: those belong to the tiles.
template <class Accumulator>
struct MovedVector : Avx512::Vector<Accumulator> {
  using Type = typename Avx512::Vector<Accumulator>::Type;
  static Type multiply_add(Type, Type, Type) = delete;
};

// bfloat16 that are moved and not computed with.
template <>
struct MovedVector<bfloat16> {
  using Type = __m512i;
  static constexpr int kLanes = 32;

  static Type zero() { return _mm512_setzero_si512(); }
  static Type load(const bfloat16* p) { return _mm512_load_si512(p); }
  static void store(bfloat16* p, Type x) { _mm512_store_si512(p, x); }
  static Type load_lanes(const bfloat16* p, uint32_t lanes) {
    return _mm512_maskz_loadu_epi16(lanes, p);
  }
  static Type load_every_other(const bfloat16* p, uint32_t lanes) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(half_of_every_other(p, lanes)),
                              half_of_every_other(p + kLanes, lanes >> 16), 1);
  }
  static __m256i half_of_every_other(const bfloat16* p, uint32_t lanes) {
    const uint32_t even = Avx512::Vector<float>::spread(lanes);
    return _mm512_cvtepi32_epi16(_mm512_maskz_loadu_epi16(even, p));
  }
  static Type gather(const bfloat16* p, const int64_t* offsets, uint32_t lanes) {
    alignas(64) bfloat16 x[kLanes] = {};
    for (int l = 0; l < kLanes; ++l) {
      if (lanes >> l & 1u) x[l] = p[offsets[l]];
    }
    return load(x);
  }
  static void store_lanes(bfloat16* p, Type x, uint32_t lanes) {
    _mm512_mask_storeu_epi16(p, lanes, x);
  }
  static Type bit_or(Type x, Type y) { return _mm512_or_si512(x, y); }
};

// kTheTerms bfloat16 terms of every float, and how many of the products of two floats' terms are
// formed, the largest first.
template <class TheTiles, int kTheTerms, int kTheProducts>
struct AmxTarget {
  static constexpr Isa kIsa = Isa::amx;
  using Tiles = TheTiles;
  using Terms = typename Tiles::Terms;
  static constexpr int kTerms = kTheTerms, kProducts = kTheProducts;

  template <class Accumulator>
  using Vector = MovedVector<Accumulator>;
};

// The tile registers hold a state that the operating system must save with the thread, so it is
// held no longer than one block takes (0.12 us to set and release).
template <class Tiles>
class TileScope {
 public:
  // step: the reduction of one product, even and at most kAmxStep.
  explicit TileScope(int64_t step = kAmxStep) { Tiles::configure(step); }
  ~TileScope() { Tiles::release(); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

}  // namespace

// bfloat16 is its own one term.
template <class Tiles>
struct PackedType<AmxTarget<Tiles, 1, 1>, bfloat16> {
  using Type = bfloat16;
};

// Tiles made beforehand: of 32 rows of A, or 32 columns of B, for the whole reduction at a time.
template <class Tiles, int kTerms, int kProducts, class Element>
struct Operand<AmxTarget<Tiles, kTerms, kProducts>, Element> {
  using Packed = std::byte;

  PackSource<AmxTarget<Tiles, kTerms, kProducts>, Element>* source;
  bool inner_is_reduction;
  const std::byte* panels = nullptr;
  int64_t panel_stride = 0;
};

template <class Tiles, int kTerms, int kProducts, class Element>
struct PackScratch<AmxTarget<Tiles, kTerms, kProducts>, Element> {
  using Shape = GemmShape<Isa::amx, Element>;
  static constexpr int64_t kLanesOfRows = Shape::kTileRows;
  static constexpr int64_t kTileElements = Shape::kTileRows * Shape::kTileRowStride;
  static constexpr int64_t kTilesElements = kTileElements;
  // What is to be transposed; then 32 rows of A and a whole block of B as tiles, and two
  // sums, one of which is moved while the other is formed.
  static constexpr int64_t kTransposedBytes = kTileElements * int64_t{sizeof(Element)};
  static constexpr int64_t kRowsBytes = Shape::kTileRows * Shape::kDepth * kTerms * 2;
  static constexpr int64_t kColumnsBytes = kBlockColumns * Shape::kDepth * kTerms * 2;
  static constexpr int64_t kSumBytes = Shape::kTileRows * Shape::kTileColumns * 4;
  static constexpr int64_t kStageElements =
      (kTransposedBytes + kRowsBytes + kColumnsBytes + 2 * kSumBytes) / int64_t{sizeof(Element)};

  Element* tile;
  Element* stage;
  Element* block;

  std::byte* tiles_of_a() const { return reinterpret_cast<std::byte*>(stage) + kTransposedBytes; }
  std::byte* tiles_of_b() const { return tiles_of_a() + kRowsBytes; }
  float* sum(int64_t which) const {
    return reinterpret_cast<float*>(tiles_of_b() + kColumnsBytes + which * kSumBytes);
  }
};

}  // namespace fastconv::cpu
