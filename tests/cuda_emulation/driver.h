// The C face of the emulated library, which Python loads through ctypes.
#pragma once

#include <cstdint>

#define EMULATION_API extern "C" __attribute__((visibility("default")))

// order: 0 ascending, 1 descending, 2 random; copies: 0 eager, 1 lazy, 2 random.
EMULATION_API void emulation_configure(int order, int copies, uint64_t seed);
EMULATION_API int emulation_take_findings(char* text, int64_t size);
EMULATION_API int emulation_has_memory_hooks();
