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

// The bits of the largest |x| as a float: in their order infinity and NaN are above all numbers.
inline uint32_t magnitude_bits(const float* x, int64_t stride, int64_t count) {
  __m512i largest = _mm512_setzero_si512();
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  if (stride == 1) {
    for (int64_t i = 0; i < count; i += 16) {
      const auto lanes = static_cast<__mmask16>(first_lanes(count - i < 16 ? count - i : 16));
      const __m512i bits = _mm512_maskz_loadu_epi32(lanes, x + i);
      largest = _mm512_max_epu32(largest, _mm512_and_si512(bits, magnitude));
    }
    return _mm512_reduce_max_epu32(largest);
  }
  uint32_t result = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(x[i * stride]) & 0x7fffffffu;
    result = bits > result ? bits : result;
  }
  return result;
}

// The 16-bit formats are ordered by their bits too, so one conversion at the end does.
template <class T>
inline uint32_t magnitude_bits(const T* x, int64_t stride, int64_t count) {
  uint32_t result = 0;
  if (stride == 1) {
    __m512i largest = _mm512_setzero_si512();
    const __m512i magnitude = _mm512_set1_epi16(0x7fff);
    for (int64_t i = 0; i < count; i += 32) {
      const __mmask32 lanes = first_lanes(count - i);
      const __m512i bits = _mm512_maskz_loadu_epi16(lanes, x + i);
      largest = _mm512_max_epu16(largest, _mm512_and_si512(bits, magnitude));
    }
    alignas(64) uint16_t all[32];
    _mm512_store_si512(all, largest);
    for (const uint16_t bits : all) result = bits > result ? bits : result;
  } else {
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t bits = x[i * stride].bits & 0x7fffu;
      result = bits > result ? bits : result;
    }
  }
  return std::bit_cast<uint32_t>(Storage<T>::load(T{static_cast<uint16_t>(result)}));
}

struct Dimension {
  int64_t size, stride;
};

// The same over a tensor of any strides.
template <class T>
uint32_t largest_magnitude(const T* tensor, const Dimension (&dimensions)[4],
                           const Parallel& parallel) {
  // Outermost first, and what follows on in memory as one dimension.
  Dimension d[4];
  int count = 0;
  for (const Dimension& next : dimensions) {
    if (next.size == 0) return 0;
    if (next.size == 1 || next.stride == 0) continue;
    int at = count++;
    for (; at > 0 && d[at - 1].stride < next.stride; --at) d[at] = d[at - 1];
    d[at] = next;
  }
  if (count == 0) return magnitude_bits(tensor, 1, 1);
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
  Largest largest;
  parallel.for_ranges(runs, [&](int64_t begin, int64_t end) {
    uint32_t mine = 0;
    for (int64_t run = begin; run < end; ++run) {
      const int64_t first = run % chunks * kLongestRun;
      int64_t offset = first * d[last].stride, rest = run / chunks;
      for (int i = last - 1; i >= 0; --i) {
        offset += rest % d[i].size * d[i].stride;
        rest /= d[i].size;
      }
      const int64_t left = d[last].size - first;
      const uint32_t bits =
          magnitude_bits(tensor + offset, d[last].stride, left < kLongestRun ? left : kLongestRun);
      mine = bits > mine ? bits : mine;
    }
    largest.see(mine);
  });
  return largest.value();
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

// Whether sums of `depth` products of numbers up to these two magnitudes are safe in terms.
inline bool terms_serve(uint32_t a, uint32_t b, int64_t depth) {
  if (a >= kRoundsToInfinity || b >= kRoundsToInfinity) return false;
  if (a == 0 || b == 0) return true;
  const int product = exponent_of(a) + exponent_of(b);
  return exponent_of(a) >= kSmallestInTerms && exponent_of(b) >= kSmallestInTerms &&
         product >= kSmallestInTerms && product + 2 + doublings(depth) < kLargestSum;
}

// Whether some numbers can be of any use in products of terms.
inline bool terms_may_serve(uint32_t b) {
  return b == 0 || (b < kRoundsToInfinity && exponent_of(b) >= kSmallestInTerms);
}

// Whether the largest sum that was formed, of up to `depth` products with numbers up to b, shows
// that terms served the other operand too. Nothing infinite, rounded to infinity or overflowing
// leaves all sums finite, nor does a sum so far below the largest float overflow when up to `depth`
// of them are added; and a sum is at most depth * a * b, so that a cannot be small where one is
// not. False says nothing: then it is for terms_serve() to say, of a itself.
inline bool sum_vouches(uint32_t largest_sum, uint32_t b, int64_t depth) {
  if (largest_sum == 0 || b == 0) return false;
  const int sum = exponent_of(largest_sum), length = doublings(depth);
  // Each exponent is less than one below its number's logarithm; the terms' own rounding is in the
  // second of the two.
  const int product = sum - length - 2;
  return sum + length + 2 < kLargestSum && product >= kSmallestInTerms &&
         product - exponent_of(b) >= kSmallestInTerms;
}

}  // namespace
}  // namespace fastconv::cpu
