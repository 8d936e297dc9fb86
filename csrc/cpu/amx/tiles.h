// The AMX instructions, each behind a name: the only place where one is written. tests/cpp has a
// twin of this type that emulates them in memory (emulated_tiles.h), so that the kernels, which are
// templates over it, are tested on CPUs that have no AMX.
//
// Assembly and not the compiler's intrinsics: those are macros that want a literal tile number, and
// GCC 12's neither tell the compiler that they read and write memory nor compile as template
// arguments. To be included under the pragma for AVX-512 with AVX512_BF16.
#pragma once

#include <cstdint>

#include "cpu/amx/hardware_terms.h"
#include "cpu/isa.h"

namespace fastconv::cpu {

// What ldtilecfg reads.
struct alignas(64) TileConfig {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

namespace {

// Eight tiles of up to 16 rows by 64 bytes.
struct AmxTiles {
  static constexpr Isa kIsa = Isa::amx;
  using Terms = HardwareTerms;

  // A tile may be used between the two, by the thread that called them. Tiles 4 and 5 have rows of
  // `step` bfloat16, 6 and 7 as many in pairs, all the others are whole.
  static void configure(int64_t step) {
    TileConfig config{};
    config.palette = 1;
    for (int tile = 0; tile < 8; ++tile) {
      const bool is_a = tile == 4 || tile == 5, is_b = tile == 6 || tile == 7;
      config.row_bytes[tile] = static_cast<uint16_t>(is_a ? 2 * step : 64);
      config.rows[tile] = static_cast<uint8_t>(is_b ? step / 2 : 16);
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
  }
  static void release() { __asm__ volatile("tilerelease" : : : "memory"); }

  template <int kTile>
  static void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  static void load(const void* from, int64_t row_bytes) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2"
                     :
                     : "r"(from), "r"(row_bytes), "i"(kTile)
                     : "memory");
  }
  template <int kTile>
  static void store(void* to, int64_t row_bytes) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)"
                     :
                     : "r"(to), "r"(row_bytes), "i"(kTile)
                     : "memory");
  }
  // c[m][n] += sum over k < step, as configured, of a[m][k] * b[k / 2][n][k % 2], a and b bfloat16,
  // c float.
  template <int kC, int kA, int kB>
  static void multiply_add() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
  }
};

}  // namespace
}  // namespace fastconv::cpu
