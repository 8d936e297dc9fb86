#include "cpu/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fastconv::cpu {
namespace {

#if defined(__x86_64__)
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }

// Linux hands out the 8 KiB of AMX tile state per process, on request. It refuses where a thread
// already has a signal stack too small for the larger frame; the first tile instruction would then
// be a SIGILL.
bool has_amx() {
#if defined(__linux__)
  if (!has_avx512_bf16() || !__builtin_cpu_supports("amx-tile") ||
      !__builtin_cpu_supports("amx-bf16")) {
    return false;
  }
  constexpr int kRequestPermission = 0x1023;
  constexpr int kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

Isa detect() {
#if defined(__x86_64__)
  if (has_amx()) return Isa::amx;
  if (has_avx512_bf16()) return Isa::avx512_bf16;
  if (has_avx512()) return Isa::avx512;
  if (has_avx2()) return Isa::avx2;
#endif
  return Isa::scalar;
}

Isa cap_by_environment(Isa detected) {
  const char* value = std::getenv("FASTCONV_MAX_ISA");
  if (value == nullptr || *value == '\0') return detected;
  const std::optional<Isa> cap = isa_from_name(value);
  if (!cap) {
    throw std::runtime_error(std::string("FASTCONV_MAX_ISA is '") + value +
                             "'; it takes one of scalar, avx2, avx512, avx512_bf16, amx");
  }
  return *cap < detected ? *cap : detected;
}

}  // namespace

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return "scalar";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512_bf16:
      return "avx512_bf16";
    case Isa::amx:
      return "amx";
  }
  return "unknown";
}

std::optional<Isa> isa_from_name(std::string_view name) {
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx}) {
    if (name == name_of(isa)) return isa;
  }
  return std::nullopt;
}

Isa detected_isa() {
  static const Isa isa = detect();
  return isa;
}

Isa usable_isa() {
  static const Isa isa = cap_by_environment(detected_isa());
  return isa;
}

bool made_by_amd() {
#if defined(__x86_64__)
  return __builtin_cpu_is("amd");
#else
  return false;
#endif
}

}  // namespace fastconv::cpu
