// The blocking numbers of the GEMM on AMX: what gemm/blocking.h is to the vector units.
#pragma once

#include "cpu/dtype.h"
#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {

// A tile holds 16 rows of 64 bytes: 16 x 16 floats of C, 16 x 32 bfloat16 of A, and 32 x 16 of B,
// two values of the reduction beside each other.
constexpr int64_t kAmxTileRows = 16;
constexpr int64_t kAmxTileBytes = 1024;
constexpr int64_t kAmxStep = 32;  // the longest reduction of one product of tiles

// 2 x 2 tiles of C, two of A and two of B fill the eight registers.
template <>
struct GemmShape<Isa::amx, float> {
  static constexpr int64_t kLanes = 16;
  static constexpr int kTileRows = 2 * kAmxTileRows;
  static constexpr int kTileVectors = 2;
  static constexpr int64_t kTileColumns = kLanes * kTileVectors;
  // Also the longest running sum: what a tile has summed goes to C after this much of the
  // reduction. TDPBF16PS adds 16 pairs before it touches the accumulator, so 256 is a chain of 8
  // additions for each of the products.
  static constexpr int64_t kDepth = 256;
  static constexpr int64_t kTileRowStride = kTileRowBytes / sizeof(float);
  static constexpr int64_t kBlockOfC = kBlockOfCBytes / sizeof(float);
};

// bfloat16 as they are. Results are rounded to 8 bits in the end, so a chain of 32 additions will
// do, and C is updated less often (up to 19 % with 1024 instead of 512).
template <>
struct GemmShape<Isa::amx, bfloat16> : GemmShape<Isa::amx, float> {
  static constexpr int64_t kLanes = 32;
  static constexpr int kTileVectors = 1;
  static constexpr int64_t kDepth = 1024;
  static constexpr int64_t kTileRowStride = kDepth + 32;
};

}  // namespace fastconv::cpu
