// What is done beside products of tiles, which leave the vector units and the caches' ports idle.
// To be included under the AVX-512 pragma.
//
// Each of these is told by begin() over how many products of 2 x 2 tiles, fewer at the edges, it is
// to be spread, and by part() that another one has begun.
#pragma once

#include "cpu/amx/blocking.h"
#include "cpu/amx/target.h"

namespace fastconv::cpu {
namespace {

// The operand whose steps come from L2, fetched into L1 a step before the tiles' own loads would
// wait for it. GEMMs of two and three terms are 1.1 times as fast where another hardware thread
// keeps the core busy, and as fast where not; products of one term leave no time for it.
struct Fetch {
  const std::byte* at = nullptr;    // null where that gains nothing
  const std::byte* next = nullptr;  // where the products after these read it

  void begin(int64_t /*products*/) const {}

  // One of kParts even parts of a step. Inline: to GCC 12 a function that only prefetches has no
  // effect, and it leaves the calls out.
  template <int kTerms, int kParts, int kPart>
  [[gnu::always_inline]] void part(int64_t step, int64_t steps) const {
    constexpr int64_t kStepBytes = kTerms * 2 * kAmxTileBytes;
    constexpr int64_t kLines = kStepBytes / 64;
    if (at == nullptr) return;
    const std::byte* const from = step + 1 < steps ? at + (step + 1) * kStepBytes : next;
#pragma GCC unroll 32
    for (int64_t line = kLines * kPart / kParts; line < kLines * (kPart + 1) / kParts; ++line) {
      _mm_prefetch(reinterpret_cast<const char*>(from) + line * 64, _MM_HINT_T0);
    }
  }
};

// The largest |sum| of those that have been moved, as the bits of a float: in their order infinity
// and NaN are above all numbers.
class SumsSeen {
 public:
  SumsSeen() : largest_(_mm512_setzero_si512()) {}

  [[gnu::always_inline]] void see(__m512 sum) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    largest_ = _mm512_max_epu32(largest_, _mm512_and_si512(_mm512_castps_si512(sum), magnitude));
  }
  [[gnu::always_inline]] void see(const SumsSeen& other) {
    largest_ = _mm512_max_epu32(largest_, other.largest_);
  }
  uint32_t largest() const { return _mm512_reduce_max_epu32(largest_); }

 private:
  __m512i largest_;
};

// A sum on its way to its place: to[i][j] = addend[i][j] + sum[i][j], rounded once. The addend is
// null where there is none. Moved row by row beside the products of the next sum, as what a tile
// has stored cannot be read until the last product is done: moved at once it took a fifth of the
// time of sums of 256 in three terms.
template <class Terms, class T>
class MoveOfSum {
 public:
  MoveOfSum() = default;
  // seen: null where nobody asks.
  MoveOfSum(const float* sum, int64_t sum_stride, int64_t rows, int64_t columns,
            const float* addend, int64_t addend_stride, T* to, int64_t to_stride, SumsSeen* seen)
      : sum_(sum),
        sum_stride_(sum_stride),
        rows_(rows),
        lanes_(first_lanes(columns)),
        addend_(addend),
        addend_stride_(addend_stride),
        to_(to),
        to_stride_(to_stride),
        seen_(seen) {}

  int64_t rows_left() const { return rows_; }

  // Inline: called for single rows, between products.
  [[gnu::always_inline]] void move(int64_t rows) {
    const int64_t count = rows < rows_ ? rows : rows_;
    if (count == 0) return;
    // Copies: of what lies in memory each vector would wait for the one before it to be stored.
    MoveOfSum at = *this;
    SumsSeen seen;
    for (int64_t row = 0; row < count; ++row) {
      at.move_row(seen);
      at.sum_ += at.sum_stride_;
      if (at.addend_ != nullptr) at.addend_ += at.addend_stride_;
      at.to_ += at.to_stride_;
    }
    at.rows_ -= count;
    *this = at;
    if (at.seen_ != nullptr) at.seen_->see(seen);
  }
  void finish() { move(rows_); }

 private:
  using Vector = Avx512::Vector<float>;

  static constexpr uint32_t kAll = first_lanes(Vector::kLanes);

  [[gnu::always_inline]] void move_row(SumsSeen& seen) const {
    const uint32_t low = lanes_ & kAll, high = lanes_ >> Vector::kLanes;
    const __m512 first = moved(0, low, seen);
    if constexpr (std::is_same_v<T, bfloat16>) {
      const __m512 second = moved(Vector::kLanes, high, seen);
      _mm512_mask_storeu_epi16(to_, lanes_, Terms::round_row(first, second));
    } else {
      Vector::store_lanes(to_, first, low);
      if (high != 0) {
        Vector::store_lanes(to_ + Vector::kLanes, moved(Vector::kLanes, high, seen), high);
      }
    }
  }
  [[gnu::always_inline]] __m512 moved(int64_t column, uint32_t lanes, SumsSeen& seen) const {
    const auto columns = static_cast<__mmask16>(lanes);
    const __m512 sum = _mm512_maskz_load_ps(columns, sum_ + column);
    seen.see(sum);
    if (addend_ == nullptr) return sum;
    return _mm512_add_ps(_mm512_maskz_loadu_ps(columns, addend_ + column), sum);
  }

  const float* sum_ = nullptr;
  int64_t sum_stride_ = 0, rows_ = 0;
  uint32_t lanes_ = 0;  // of the two vectors of a row
  const float* addend_ = nullptr;
  int64_t addend_stride_ = 0;
  T* to_ = nullptr;
  int64_t to_stride_ = 0;
  SumsSeen* seen_ = nullptr;
};

template <class Terms, class T>
struct FetchAndMove {
  Fetch fetch;
  MoveOfSum<Terms, T> sum;

  void begin(int64_t products) { rows_ = ceil_div(sum.rows_left(), products); }
  template <int kTerms, int kParts, int kPart>
  void part(int64_t step, int64_t steps) {
    fetch.part<kTerms, kParts, kPart>(step, steps);
    sum.move(rows_);
  }

 private:
  int64_t rows_ = 0;
};

}  // namespace
}  // namespace fastconv::cpu
