// A 64-bit fingerprint of memory, at the speed that memory is read with.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/parallel.h"

namespace fastconv::cpu {

// Differs for certain where one element of 8 aligned bytes differs, and otherwise with the odds of
// 64 random bits; says nothing against someone who seeks collisions. The same whatever the thread
// count.
uint64_t fingerprint(const std::byte* data, int64_t bytes, const Parallel& parallel);

}  // namespace fastconv::cpu
