// int64 arithmetic on a caller's numbers: a right answer or a std::runtime_error that names the
// parameter.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace fastconv {

[[noreturn]] inline void throw_overflow(const char* parameter) {
  throw std::runtime_error(std::string(parameter) +
                           " is too large: the size arithmetic overflows int64");
}

inline int64_t checked_add(int64_t a, int64_t b, const char* parameter) {
  int64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) throw_overflow(parameter);
  return sum;
}

inline int64_t checked_mul(int64_t a, int64_t b, const char* parameter) {
  int64_t product;
  if (__builtin_mul_overflow(a, b, &product)) throw_overflow(parameter);
  return product;
}

}  // namespace fastconv
