// Whether the numbers of a product are such that bfloat16 terms serve them. To be included under
// the AVX-512 pragma.
//
// They do not where a value is infinite or NaN (inf splits into inf - inf), rounds to infinity as a
// bfloat16, or where products overflow (inf and -inf out of terms of opposite sign, where one
// product gives inf); and where everything is so small that the tiles, which know no denormals,
// flush the lower terms. Then the vector units do the whole problem, whatever the cut into blocks:
// the result stays the same at every thread count.
#pragma once

#include "cpu/amx/blocking.h"
#include "cpu/dtype.h"
#include "cpu/largest.h"
#include "cpu/parallel.h"

namespace fastconv::cpu {
namespace {

// The largest |x| of some numbers, and the smallest but zero, as the bits of floats: in their order
// infinity and NaN are above all numbers.
struct Magnitudes {
  uint32_t largest = 0;
  uint32_t smallest = UINT32_MAX;  // where all are zero

  void see(const Magnitudes& other) {
    if (other.largest > largest) largest = other.largest;
    if (other.smallest < smallest) smallest = other.smallest;
  }
  // Without one, zero wraps round to what is above all.
  static Magnitudes of(uint32_t largest, uint32_t smallest_less_one) {
    return {largest, largest == 0 ? UINT32_MAX : smallest_less_one + 1};
  }
};

inline Magnitudes magnitudes_of(const float* x, int64_t stride, int64_t count) {
  constexpr uint32_t kMagnitude = 0x7fffffffu;
  if (stride == 1) {
    const __m512i magnitude = _mm512_set1_epi32(kMagnitude), one = _mm512_set1_epi32(1);
    __m512i largest = _mm512_setzero_si512(), smallest = _mm512_set1_epi32(-1);
    for (int64_t i = 0; i < count; i += 16) {
      const auto lanes = static_cast<__mmask16>(first_lanes(count - i < 16 ? count - i : 16));
      const __m512i bits = _mm512_and_si512(_mm512_maskz_loadu_epi32(lanes, x + i), magnitude);
      largest = _mm512_max_epu32(largest, bits);
      smallest = _mm512_min_epu32(smallest, _mm512_sub_epi32(bits, one));
    }
    return Magnitudes::of(_mm512_reduce_max_epu32(largest), _mm512_reduce_min_epu32(smallest));
  }
  Magnitudes result;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(x[i * stride]) & kMagnitude;
    result.see(Magnitudes::of(bits, bits - 1));
  }
  return result;
}

// The 16-bit formats are ordered by their bits too, so one conversion at the end does.
template <class T>
inline Magnitudes magnitudes_of(const T* x, int64_t stride, int64_t count) {
  constexpr uint32_t kMagnitude = 0x7fffu;
  Magnitudes result;
  if (stride == 1) {
    const __m512i magnitude = _mm512_set1_epi16(kMagnitude), one = _mm512_set1_epi16(1);
    __m512i largest = _mm512_setzero_si512(), smallest = _mm512_set1_epi16(-1);
    for (int64_t i = 0; i < count; i += 32) {
      const __mmask32 lanes = first_lanes(count - i);
      const __m512i bits = _mm512_and_si512(_mm512_maskz_loadu_epi16(lanes, x + i), magnitude);
      largest = _mm512_max_epu16(largest, bits);
      smallest = _mm512_min_epu16(smallest, _mm512_sub_epi16(bits, one));
    }
    alignas(64) uint16_t all_largest[32], all_smallest[32];
    _mm512_store_si512(all_largest, largest);
    _mm512_store_si512(all_smallest, smallest);
    for (int lane = 0; lane < 32; ++lane) {
      result.see(Magnitudes::of(all_largest[lane], all_smallest[lane]));
    }
  } else {
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t bits = x[i * stride].bits & kMagnitude;
      result.see(Magnitudes::of(bits, bits - 1));
    }
  }
  if (result.largest == 0) return {};
  const auto as_float = [](uint32_t bits) {
    return std::bit_cast<uint32_t>(Storage<T>::load(T{static_cast<uint16_t>(bits)}));
  };
  return {as_float(result.largest), as_float(result.smallest)};
}

struct Dimension {
  int64_t size, stride;
};

// The same over a tensor of any strides.
template <class T>
Magnitudes magnitudes(const T* tensor, const Dimension (&dimensions)[4], const Parallel& parallel) {
  // Outermost first, and what follows on in memory as one dimension.
  Dimension d[4];
  int count = 0;
  for (const Dimension& next : dimensions) {
    if (next.size == 0) return {};
    if (next.size == 1 || next.stride == 0) continue;
    int at = count++;
    for (; at > 0 && d[at - 1].stride < next.stride; --at) d[at] = d[at - 1];
    d[at] = next;
  }
  if (count == 0) return magnitudes_of(tensor, 1, 1);
  int last = 0;
  for (int i = 1; i < count; ++i) {
    if (d[last].stride == d[i].stride * d[i].size) {
      d[last] = {d[last].size * d[i].size, d[i].stride};
    } else {
      d[++last] = d[i];
    }
  }
  constexpr int64_t kLongestRun = int64_t{1} << 15;  // 128 KiB: enough to be worth a thread's while
  const int64_t chunks = ceil_div(d[last].size, kLongestRun);
  int64_t runs = chunks;
  for (int i = 0; i < last; ++i) runs *= d[i].size;
  Largest largest, smallest;
  parallel.for_ranges(runs, [&](int64_t begin, int64_t end) {
    Magnitudes mine;
    for (int64_t run = begin; run < end; ++run) {
      const int64_t first = run % chunks * kLongestRun;
      int64_t offset = first * d[last].stride, rest = run / chunks;
      for (int i = last - 1; i >= 0; --i) {
        offset += rest % d[i].size * d[i].stride;
        rest /= d[i].size;
      }
      const int64_t left = d[last].size - first;
      mine.see(
          magnitudes_of(tensor + offset, d[last].stride, left < kLongestRun ? left : kLongestRun));
    }
    largest.see(mine.largest);
    smallest.see(UINT32_MAX - mine.smallest);
  });
  return {largest.value(), UINT32_MAX - smallest.value()};
}

constexpr uint32_t kRoundsToInfinity = 0x7f7f8000u;
// Of exponents. The third term of a number of 2^-100 has its last bit at 2^-124, next to the
// denormals.
constexpr int kSmallestInTerms = -100, kLargestSum = 126;

inline int exponent_of(uint32_t bits) { return static_cast<int>(bits >> 23) - 127; }

// The least n with 2^n >= count.
inline int doublings(int64_t count) {
  int n = 0;
  while (n < 62 && int64_t{1} << n < count) ++n;
  return n;
}

// Whether some numbers can be of any use in products of terms.
inline bool terms_may_serve(uint32_t b) {
  return b == 0 || (b < kRoundsToInfinity && exponent_of(b) >= kSmallestInTerms);
}

// Whether sums of `depth` products of numbers up to these two magnitudes are safe in terms.
inline bool terms_serve(uint32_t a, uint32_t b, int64_t depth) {
  if (a >= kRoundsToInfinity || b >= kRoundsToInfinity) return false;
  if (a == 0 || b == 0) return true;
  const int product = exponent_of(a) + exponent_of(b);
  return terms_may_serve(a) && terms_may_serve(b) && product >= kSmallestInTerms &&
         product + 2 + doublings(depth) < kLargestSum;
}

// Whether what the tiles flush of the smallest numbers of one operand is nothing beside the largest
// sum, whichever of the other's they meet.
inline bool flushes_vanish(uint32_t smallest, uint32_t largest_of_other, uint32_t largest_sum,
                           int64_t depth) {
  // Of a term, and of a sum in float32 with two bits to spare.
  constexpr int kFlushed = -126, kDigits = 26;
  return exponent_of(smallest) >= kSmallestInTerms ||
         exponent_of(largest_of_other) + kFlushed + doublings(depth) + kDigits <=
             exponent_of(largest_sum);
}

// Whether the largest sum that was formed, of up to `depth` products with the numbers b, shows that
// terms served the other operand too. Nothing infinite, rounded to infinity or overflowing leaves
// all sums finite, nor does a sum so far below the largest float overflow when up to `depth` of
// them are added. A sum is at most depth * a * b, so that a cannot be small where one is not; it
// may be as large as it likes, unless it meets numbers so small that the tiles flush their terms.
// False says nothing: then it is for terms_serve() to say, of a itself.
inline bool sum_vouches(uint32_t largest_sum, const Magnitudes& b, int64_t depth) {
  const int sum = exponent_of(largest_sum), length = doublings(depth);
  // Each exponent is less than one below its number's logarithm; the terms' own rounding is in the
  // second of the two.
  const int product = sum - length - 2;
  return exponent_of(b.smallest) >= kSmallestInTerms && sum + length + 2 < kLargestSum &&
         product >= kSmallestInTerms && product - exponent_of(b.largest) >= kSmallestInTerms;
}

}  // namespace
}  // namespace fastconv::cpu
