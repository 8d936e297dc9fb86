// Loops whose index is a constant in every turn, so that arrays of vectors stay in registers.
// Include this below a `#pragma GCC target`, with <utility> included above it.
#pragma once

#include <cstdint>
#include <utility>

namespace fastconv::cpu {
namespace {

template <class F, int... I>
[[gnu::always_inline]] inline void unrolled(std::integer_sequence<int, I...>, const F& body) {
  (body(std::integral_constant<int, I>{}), ...);
}

// body(std::integral_constant<int, i>{}) for i = 0 ... N - 1. The body must be always_inline.
template <int N, class F>
[[gnu::always_inline]] inline void unrolled(const F& body) {
  unrolled(std::make_integer_sequence<int, N>{}, body);
}

// Moves a pointer on and keeps the compiler from working out every later value of it in advance: a
// kernel has more of them than there are registers.
template <class E>
[[gnu::always_inline]] inline void step_pointer(const E*& pointer, int64_t step) {
  pointer += step;
  asm("" : "+r"(pointer));
}

}  // namespace
}  // namespace fastconv::cpu
