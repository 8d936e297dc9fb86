// The 16-bit floats against their definitions, every pattern of them.
#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/dtype.h"
#include "harness.h"

using namespace fastconv::cpu;
using fastconv::test::check;

namespace {

// From the fields of the format, in double, which holds every value of both formats.
double value_of(uint16_t bits, int exponent_bits) {
  const int mantissa_bits = 15 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity()
                         : std::numeric_limits<double>::quiet_NaN();
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

template <class T>
T from_float(float x) {
  return Storage<T>::store(x);
}

template <class T, int kExponentBits>
void check_every_pattern() {
  for (uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    const auto bits = static_cast<uint16_t>(pattern);
    const double expected = value_of(bits, kExponentBits);
    const float loaded = Storage<T>::load(T{bits});
    const uint16_t stored = from_float<T>(loaded).bits;
    if (std::isnan(expected)) {
      check(std::isnan(loaded), "pattern ", pattern, " is a NaN and loads as ", loaded);
      check(std::isnan(value_of(stored, kExponentBits)), "NaN ", pattern, " stored as ", stored);
    } else {
      check(loaded == expected && std::signbit(loaded) == std::signbit(expected), "pattern ",
            pattern, " loads as ", loaded, ", expected ", expected);
      check(stored == bits, "pattern ", pattern, " comes back as ", stored);
    }
  }
}

// Between two neighbours lie their midpoint, which goes to the even one, and the floats next to it.
template <class T, int kExponentBits>
void check_rounding() {
  const uint32_t infinity = ((1u << kExponentBits) - 1) << (15 - kExponentBits);
  for (uint32_t sign : {0u, 0x8000u}) {
    for (uint32_t magnitude = 0; magnitude < infinity; ++magnitude) {
      const auto low = static_cast<uint16_t>(sign | magnitude);
      const auto high = static_cast<uint16_t>(low + 1);
      const double below = value_of(low, kExponentBits);
      // Where the next value is infinity, rounding behaves as if the largest exponent went on.
      const double above = magnitude + 1 == infinity
                               ? 2 * below - value_of(static_cast<uint16_t>(low - 1), kExponentBits)
                               : value_of(high, kExponentBits);
      const double exact_middle = (below + above) / 2;
      const auto middle = static_cast<float>(exact_middle);
      if (middle != exact_middle) continue;  // bfloat16's last subnormals: float has no midpoint
      const uint16_t even = (low & 1) == 0 ? low : high;
      const float up = std::nextafter(middle, static_cast<float>(above) * 2);
      const float down = std::nextafter(middle, 0.0f);
      check(from_float<T>(middle).bits == even, "midpoint above ", low);
      check(from_float<T>(down).bits == low, "just below the midpoint above ", low);
      if (up != middle) check(from_float<T>(up).bits == high, "just past the midpoint above ", low);
    }
  }
}

}  // namespace

FASTCONV_TEST(dtype, bfloat16_every_pattern) { check_every_pattern<bfloat16, 8>(); }
FASTCONV_TEST(dtype, float16_every_pattern) { check_every_pattern<float16, 5>(); }
FASTCONV_TEST(dtype, bfloat16_rounds_to_nearest_even) { check_rounding<bfloat16, 8>(); }
FASTCONV_TEST(dtype, float16_rounds_to_nearest_even) { check_rounding<float16, 5>(); }

FASTCONV_TEST(dtype, overflow_goes_to_infinity) {
  check(from_float<float16>(65520.0f).bits == 0x7c00, "65520 is the first to round past 65504");
  check(from_float<float16>(std::nextafter(65520.0f, 0.0f)).bits == 0x7bff, "below 65520");
  check(from_float<float16>(-1e30f).bits == 0xfc00, "far below the range");
  check(from_float<bfloat16>(std::numeric_limits<float>::max()).bits == 0x7f80, "largest float");
}
