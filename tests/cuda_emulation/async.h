// Asynchronous barriers and copies of the running block, and what each thread may know of them: the
// inside of async.cpp and warpgroup.cpp.
#pragma once

#include <array>
#include <vector>

#include "cuda_emulation_sm90.h"
#include "runtime.h"

namespace cuda_emulation {

constexpr int kMaxWarps = kMaxThreads / kWarpSize;
constexpr int kMaxBarriers = 32;
constexpr uint32_t kRowBytes = 128;  // what a copy brings of each pixel, and what is permuted

// What a thread knows to have happened, by what it did itself and by the barriers that it waited
// at: the clock of a race detector, with one number for each warp's products and each barrier.
struct Knowledge {
  std::array<uint32_t, kMaxWarps> products{};   // of each warp: how many have ended
  std::array<uint32_t, kMaxBarriers> phases{};  // of each barrier: how many have ended
  void join(const Knowledge& other);
};
Knowledge& knowledge_of(unsigned thread);

// One 128-byte row of shared memory.
struct Row {
  int in_flight = 0;                        // copies to it
  int barrier = -1;                         // to which the last copy's bytes counted, or none
  uint32_t phase = 0;                       // that had to end before anybody reads it
  std::array<uint32_t, kMaxWarps> reads{};  // the last product of each warp that reads it
};
Row* row_at(uint32_t window_address);  // null outside shared memory
std::byte* shared_memory_at(uint32_t window_address);

// The 16-byte pieces of a row change places by bits 7 to 9 of its address.
constexpr uint32_t permuted(uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

// A new block; nothing is in flight.
void async_begin_block();
// Lets one copy arrive, any of those in flight; false where there is none.
bool async_land_one();
// Lets none, one or several arrive, as the hardware might.
void async_land_some();
// All threads of the block, or of a warp, have met.
void async_join_threads(unsigned first, unsigned count);
void async_end_block();
void warpgroups_begin_block(unsigned warps);
void warpgroups_end_block();

}  // namespace cuda_emulation
