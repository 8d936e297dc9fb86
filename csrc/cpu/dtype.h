// 16-bit floats as storage: kernels load them into float, add in float and round once when they
// store.
//
// Everything here is static: a translation unit compiled for AVX-512 must keep its copies to
// itself.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace fastconv::cpu {

struct bfloat16 {
  uint16_t bits;
};

struct float16 {
  uint16_t bits;
};

static inline float to_float(bfloat16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }

// Round to nearest even; a NaN stays one (quiet) instead of rounding up to infinity.
static inline bfloat16 to_bfloat16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

static inline float to_float(float16 x) {
  const uint32_t sign = uint32_t{x.bits & 0x8000u} << 16;
  const uint32_t magnitude = x.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) {  // infinity and NaN
    return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  }
  // Shifted into place the exponent is 112 too small; a multiplication by 2^112 mends it and
  // normalises subnormals.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(scaled));
}

// Round to nearest even, overflow to infinity, subnormals kept, NaN stays NaN.
static inline float16 to_float16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return {static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu))};
  }
  if (magnitude >= 0x477ff000u)
    return {static_cast<uint16_t>(sign | 0x7c00u)};  // rounds past 65504
  if (magnitude < 0x38800000u) {
    // Below 2^-14 the result is a multiple of 2^-24: adding 0.5 puts those multiples at float's
    // last bit, so that the addition does the rounding.
    const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(aligned) - 0x3f000000u))};
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u;
  return {static_cast<uint16_t>(sign | (rounded >> 13))};
}

// Storage<T>: how an element of type T is computed with. Accumulator is what sums are kept in.
template <class T>
struct Storage;

template <>
struct Storage<float> {
  using Accumulator = float;
  static float load(float x) { return x; }
  static float store(float x) { return x; }
};

template <>
struct Storage<double> {
  using Accumulator = double;
  static double load(double x) { return x; }
  static double store(double x) { return x; }
};

template <>
struct Storage<bfloat16> {
  using Accumulator = float;
  static float load(bfloat16 x) { return to_float(x); }
  static bfloat16 store(float x) { return to_bfloat16(x); }
};

template <>
struct Storage<float16> {
  using Accumulator = float;
  static float load(float16 x) { return to_float(x); }
  static float16 store(float x) { return to_float16(x); }
};

}  // namespace fastconv::cpu
