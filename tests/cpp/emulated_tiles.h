// AMX in memory: the twin of cpu/amx/tiles.h, to be included under the AVX-512 pragma in its place.
// It does what Intel's manual says that the instructions do, and stops the program where the
// hardware would raise a fault.
#pragma once

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "cpu/isa.h"

namespace fastconv::test {
namespace {

// "DAZ=FTZ=1": tiles know no denormals.
inline float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
inline float flushing_multiply_add(float a, float b, float c) {
  return flushed(__builtin_fmaf(flushed(a), flushed(b), flushed(c)));
}
inline float flushing_add(float a, float b) { return flushed(flushed(a) + flushed(b)); }

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
    float c[16][16];
    uint16_t a[16][32], b[16][32];
    std::memcpy(c, tile<kC>(), kBytes);
    std::memcpy(a, tile<kA>(), kBytes);
    std::memcpy(b, tile<kB>(), kBytes);
    for (int m = 0; m < 16; ++m) {
      float even[16] = {}, odd[16] = {};
      for (int k = 0; k < state().step / 2; ++k) {
        for (int n = 0; n < 16; ++n) {
          even[n] = flushing_multiply_add(widened(a[m][2 * k]), widened(b[k][2 * n]), even[n]);
          odd[n] =
              flushing_multiply_add(widened(a[m][2 * k + 1]), widened(b[k][2 * n + 1]), odd[n]);
        }
      }
      for (int n = 0; n < 16; ++n) c[m][n] = flushing_add(c[m][n], flushing_add(even[n], odd[n]));
    }
    std::memcpy(tile<kC>(), c, kBytes);
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
  static float widened(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }
};

}  // namespace
}  // namespace fastconv::test
