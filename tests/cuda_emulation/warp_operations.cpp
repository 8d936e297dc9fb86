// What a warp does together, and asynchronous copies.
//
// Fragment layouts are those of the PTX manual: with group = lane / 4 and pair = lane % 4, a lane
// holds rows group and group + 8, columns 2 pair and 2 pair + 1 of each 8 x 8 quarter of a 16-bit A
// tile; B by columns likewise; the sums rows group and group + 8, columns 2 pair and 2 pair + 1.
#include <bit>
#include <cstring>
#include <string>

#include "async.h"
#include "runtime.h"

namespace cuda_emulation {
namespace {

template <class Arguments>
Arguments& lane_arguments(void* const* arguments, int lane) {
  return *static_cast<Arguments*>(arguments[lane]);
}

struct Shuffle {
  uint32_t value, result;
  int source;
};

void run_shuffle(void* const* arguments, int) {
  for (int lane = 0; lane < kWarpSize; ++lane) {
    auto& own = lane_arguments<Shuffle>(arguments, lane);
    own.result = lane_arguments<Shuffle>(arguments, own.source % kWarpSize).value;
  }
}

void run_warp_barrier(void* const*, int warp) {
  ++running->warp_epoch[warp];
  async_join_threads(static_cast<unsigned>(warp) * kWarpSize, kWarpSize);
}

struct LoadMatrices {
  uint32_t* fragment;
  const std::byte* row;
  const void* code;
};

template <bool transposed>
void run_load_matrices(void* const* arguments, int warp) {
  uint16_t matrices[4][8][8];
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const auto& own = lane_arguments<LoadMatrices>(arguments, lane);
    const unsigned thread = static_cast<unsigned>(warp * kWarpSize + lane);
    if (reinterpret_cast<uintptr_t>(own.row) % 16 != 0) {
      report_for("misaligned", "a matrix row must start at a multiple of 16 bytes", own.code,
                 thread);
    }
    shadow_access(own.row, 16, Access::read, thread, own.code);
    std::memcpy(matrices[lane / 8][lane % 8], own.row, 16);
  }
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const int group = lane / 4, pair = lane % 4;
    for (int matrix = 0; matrix < 4; ++matrix) {
      const auto& m = matrices[matrix];
      const uint16_t low = transposed ? m[2 * pair][group] : m[group][2 * pair];
      const uint16_t high = transposed ? m[2 * pair + 1][group] : m[group][2 * pair + 1];
      lane_arguments<LoadMatrices>(arguments, lane).fragment[matrix] =
          low | static_cast<uint32_t>(high) << 16;
    }
  }
}

struct MultiplyAdd {
  float* sum;
  const uint32_t *a, *b;
};

float half_word(uint32_t word, int which, MmaType type) {
  const auto bits = static_cast<uint16_t>(word >> (16 * which));
  return type == MmaType::bf16 ? fastconv::cpu::to_float(fastconv::cpu::bfloat16{bits})
                               : fastconv::cpu::to_float(fastconv::cpu::float16{bits});
}

// The tensor core reads the upper 19 bits of a float.
float tf32(uint32_t word) { return std::bit_cast<float>(word & 0xffffe000u); }

template <MmaType type>
void run_multiply_add(void* const* arguments, int) {
  constexpr int kDepth = type == MmaType::tf32 ? 8 : 16;
  float a[16][kDepth], b[kDepth][8];
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const auto& own = lane_arguments<MultiplyAdd>(arguments, lane);
    const int group = lane / 4, pair = lane % 4;
    if constexpr (type == MmaType::tf32) {
      for (int i = 0; i < 4; ++i) a[group + i % 2 * 8][pair + i / 2 * 4] = tf32(own.a[i]);
      for (int i = 0; i < 2; ++i) b[pair + i * 4][group] = tf32(own.b[i]);
    } else {
      for (int i = 0; i < 4; ++i) {
        for (int which = 0; which < 2; ++which) {
          a[group + i % 2 * 8][2 * pair + which + i / 2 * 8] = half_word(own.a[i], which, type);
        }
      }
      for (int i = 0; i < 2; ++i) {
        for (int which = 0; which < 2; ++which) {
          b[2 * pair + which + i * 8][group] = half_word(own.b[i], which, type);
        }
      }
    }
  }
  for (int lane = 0; lane < kWarpSize; ++lane) {
    auto& own = lane_arguments<MultiplyAdd>(arguments, lane);
    const int group = lane / 4, pair = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const int row = group + i / 2 * 8, column = 2 * pair + i % 2;
      float sum = own.sum[i];
      for (int k = 0; k < kDepth; ++k) sum += a[row][k] * b[k][column];
      own.sum[i] = sum;
    }
  }
}

void perform(PendingCopy& copy) {
  if (copy.copied) return;
  copy.copied = true;
  if (copy.valid) {
    std::memcpy(copy.shared, copy.global, static_cast<size_t>(copy.bytes));
  } else {
    std::memset(copy.shared, 0, static_cast<size_t>(copy.bytes));
  }
}

}  // namespace

void warp_barrier() {
  running->warp_collective(run_warp_barrier, nullptr, __builtin_return_address(0));
}

uint32_t shuffle(uint32_t value, int source_lane) {
  Shuffle arguments{value, 0, source_lane};
  running->warp_collective(run_shuffle, &arguments, __builtin_return_address(0));
  return arguments.result;
}

float atomic_add(float* address, float value) {
  shadow_atomic(address, sizeof *address, __builtin_return_address(0));
  const float before = *address;
  *address = before + value;
  return before;
}

void load_matrices(uint32_t (&fragment)[4], const void* row, bool transposed) {
  LoadMatrices arguments{fragment, static_cast<const std::byte*>(row), __builtin_return_address(0)};
  running->warp_collective(transposed ? run_load_matrices<true> : run_load_matrices<false>,
                           &arguments, arguments.code);
}

void multiply_add_tile(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                       MmaType type) {
  MultiplyAdd arguments{sum, a, b};
  const Collective run = type == MmaType::bf16  ? run_multiply_add<MmaType::bf16>
                         : type == MmaType::f16 ? run_multiply_add<MmaType::f16>
                                                : run_multiply_add<MmaType::tf32>;
  running->warp_collective(run, &arguments, __builtin_return_address(0));
}

// When the bytes arrive is the hardware's choice: now hides a missing wait, at the wait hides an
// overwritten stage. So it is a coin's choice here.
void copy_async(void* shared, const void* global, int bytes, bool valid) {
  const void* code = __builtin_return_address(0);
  if (reinterpret_cast<uintptr_t>(shared) % static_cast<size_t>(bytes) != 0 ||
      (valid && reinterpret_cast<uintptr_t>(global) % static_cast<size_t>(bytes) != 0)) {
    report("misaligned", "both ends of a copy must be multiples of its size", code);
  }
  if (valid) {
    shadow_access(global, static_cast<size_t>(bytes), Access::read, self().thread.x, code);
  }
  PendingCopy copy{static_cast<std::byte*>(shared),
                   static_cast<const std::byte*>(global),
                   bytes,
                   valid,
                   false,
                   running->copy_group()};
  shadow_copy_issued(copy.shared, bytes, code);
  if (settings.copies == CopyTiming::eager ||
      (settings.copies == CopyTiming::random && running->random() % 2 == 0)) {
    perform(copy);
  }
  running->copies().push_back(copy);
}

void copy_async_commit() { ++running->copy_group(); }

void copy_async_wait(int newest_groups_in_flight) {
  auto& copies = running->copies();
  const int first_in_flight = running->copy_group() - newest_groups_in_flight;
  size_t kept = 0;
  for (PendingCopy& copy : copies) {
    if (copy.group >= first_in_flight) {
      copies[kept++] = copy;
      continue;
    }
    perform(copy);
    shadow_copy_landed(copy.shared, copy.bytes);
  }
  copies.resize(kept);
}

}  // namespace cuda_emulation
