// What this CPU may run.
#pragma once

#include <optional>
#include <string_view>

namespace fastconv::cpu {

// Each level includes the ones before it.
enum class Isa { scalar, avx2, avx512, avx512_bf16, amx };

const char* name_of(Isa isa);
std::optional<Isa> isa_from_name(std::string_view name);

// The best level that the CPU and the operating system allow, amx only once the kernel has granted
// the tile state to this process.
Isa detected_isa();

// detected_isa() capped by the environment variable FASTCONV_MAX_ISA, which is read once, at the
// first call. Throws std::runtime_error where the variable names no level.
Isa usable_isa();

// For estimates of time alone.
bool made_by_amd();

}  // namespace fastconv::cpu
