// AMX in memory: the twin of cpu/amx/tiles.h, to be included under the AVX-512 pragma in its place.
// It does what Intel's manual says that the instructions do, and stops the program where the
// hardware would raise a fault.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "cpu/isa.h"

namespace fastconv::test {
namespace {

// "DAZ=FTZ=1": tiles know no denormals.
inline __m512 flushed(__m512 x) {
  const __mmask16 denormal =
      _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(0x1p-126f), _CMP_LT_OQ);
  return _mm512_mask_and_ps(x, denormal, x, _mm512_set1_ps(-0.0f));
}
inline __m512 flushing_multiply_add(__m512 a, __m512 b, __m512 c) {
  return flushed(_mm512_fmadd_ps(flushed(a), flushed(b), flushed(c)));
}
inline __m512 flushing_add(__m512 a, __m512 b) {
  return flushed(_mm512_add_ps(flushed(a), flushed(b)));
}
// Of each pair of bfloat16 the first or the second.
inline __m512 even_of(__m512i pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
inline __m512 odd_of(__m512i pairs) {
  return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(~0xffff)));
}

struct EmulatedTiles {
  static constexpr cpu::Isa kIsa = cpu::Isa::avx512;
  using Terms = cpu::IntegerTerms;

  static void configure(int64_t step) {
    require(!state().configured && step > 0 && step <= 32 && step % 2 == 0);
    state() = {};
    state().configured = true;
    state().step = step;
  }
  static void release() {
    require(state().configured);
    state().configured = false;
  }

  template <int kTile>
  static void zero() {
    std::memset(tile<kTile>(), 0, kBytes);
  }
  template <int kTile>
  static void load(const void* from, int64_t row_bytes) {
    const bool is_a = kTile == 4 || kTile == 5, is_b = kTile == 6 || kTile == 7;
    const int64_t rows = is_b ? state().step / 2 : 16, bytes = is_a ? 2 * state().step : 64;
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(tile<kTile>() + row * 64, static_cast<const char*>(from) + row * row_bytes,
                  static_cast<size_t>(bytes));
    }
  }
  template <int kTile>
  static void store(void* to, int64_t row_bytes) {
    for (int row = 0; row < 16; ++row) {
      std::memcpy(static_cast<char*>(to) + row * row_bytes, tile<kTile>() + row * 64, 64);
    }
  }

  // TDPBF16PS. The even and the odd values of the reduction are summed apart, from zero, and only
  // then added to the accumulator; every step rounds to nearest even.
  template <int kC, int kA, int kB>
  static void multiply_add() {
    for (int64_t m = 0; m < 16; ++m) {
      char* const c = tile<kC>() + m * 64;
      __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
      for (int64_t k = 0; k < state().step / 2; ++k) {
        int32_t pair;
        std::memcpy(&pair, tile<kA>() + m * 64 + k * 4, sizeof pair);
        const __m512i a = _mm512_set1_epi32(pair), b = _mm512_loadu_si512(tile<kB>() + k * 64);
        even = flushing_multiply_add(even_of(a), even_of(b), even);
        odd = flushing_multiply_add(odd_of(a), odd_of(b), odd);
      }
      const __m512 sum = flushing_add(even, odd);
      _mm512_storeu_ps(c, flushing_add(_mm512_loadu_ps(c), sum));
    }
  }

 private:
  static constexpr int kBytes = 1024;

  struct State {
    bool configured;
    int64_t step;
    char tiles[8][kBytes];
  };
  static State& state() {
    static thread_local State of_this_thread{};
    return of_this_thread;
  }
  static void require(bool condition) {
    if (!condition) std::abort();
  }
  template <int kTile>
  static char* tile() {
    static_assert(kTile >= 0 && kTile < 8);
    require(state().configured);
    return state().tiles[kTile];
  }
};

}  // namespace
}  // namespace fastconv::test
