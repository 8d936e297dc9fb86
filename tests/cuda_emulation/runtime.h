// The inside of the emulator: what its parts know of each other. Never compiled with the memory
// hooks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "cuda_emulation.h"

namespace cuda_emulation {

constexpr int kWarpSize = 32;
constexpr int kMaxThreads = 1024;

enum class Order { ascending, descending, random };
enum class CopyTiming { eager, lazy, random };

// Settings of the launches to come.
struct Settings {
  Order order = Order::random;
  CopyTiming copies = CopyTiming::random;
  uint64_t seed = 1;
};
extern Settings settings;

// ---- Findings -------------------------------------------------------------------------------

// Records one finding about the running thread; the same kind at the same instruction counts once.
// `code` is the address in the kernel, which the reader turns into a line.
void report(const char* kind, const std::string& details, const void* code);
void report_for(const char* kind, const std::string& details, const void* code, unsigned thread);

// ---- Fibers ---------------------------------------------------------------------------------

// Each thread of a block has a stack of its own, kept from block to block.
struct Stacks {
  static constexpr size_t kBytes = size_t{64} << 10;
  Stacks();
  // The stack pointer of a fiber that will call `entry` when it is first switched to.
  void* prepare(int thread, void (*entry)());
  bool contains(const void* address) const;
  std::byte* begin;
  size_t stride;
  int opened = 0;
};
extern "C" void cuda_emulation_switch(void** save, void* to);

// ---- The running block ----------------------------------------------------------------------

struct PendingCopy {
  std::byte* shared;
  const std::byte* global;
  int bytes;
  bool valid, copied;
  int group;
};

using Collective = void (*)(void* const* arguments, int warp);

class Block {
 public:
  Block(unsigned size, unsigned grid_size, size_t shared_bytes, void (*body)(const void*),
        const void* context);
  ~Block();
  // Runs one block to its end; false where it could not finish.
  bool run(unsigned block_index);

  unsigned size() const { return size_; }
  const Thread& thread() const { return fibers_[current_].identity; }
  void barrier(const void* code);
  // The last lane of the warp to arrive runs `collective` for all 32.
  void warp_collective(Collective collective, void* arguments, const void* code);
  // The running thread stops until another wakes it.
  void sleep();
  void wake(int thread) { warps_[thread / kWarpSize].ready |= 1u << (thread % kWarpSize); }
  // Leaves the block at once, for good: the running thread has hit a guard page.
  [[noreturn]] void abandon();

  std::vector<PendingCopy>& copies() { return fibers_[current_].copies; }
  int& copy_group() { return fibers_[current_].copy_group; }

  std::mt19937_64 random;
  std::byte* shared;
  size_t shared_bytes;
  uint32_t epoch = 0;  // how many barriers the block has passed
  std::array<uint32_t, kMaxThreads / kWarpSize> warp_epoch{};

 private:
  struct Fiber {
    void* stack_pointer;
    Thread identity;
    std::vector<PendingCopy> copies;
    int copy_group;
  };
  struct Warp {
    uint32_t ready, arrived;
    Collective collective;
    void* arguments[kWarpSize];
  };

  static void entry();
  void finish();
  int pick();
  void shuffle_order();
  void suspend();
  void release_barrier();

  unsigned size_, grid_size_;
  void (*body_)(const void*);
  const void* context_;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  std::vector<int> order_;
  std::vector<uint32_t> at_barrier_;  // lanes of each warp
  void* main_stack_ = nullptr;
  int current_ = 0;
  unsigned live_ = 0, waiting_ = 0, asleep_ = 0;
  bool stuck_ = false;
};

extern Block* running;  // null outside a launch

// ---- Memory ---------------------------------------------------------------------------------

// Pages with an inaccessible one on either side; the last byte lies just before the second one,
// give or take what a 16-byte alignment of the first byte asks for.
class GuardedBytes {
 public:
  explicit GuardedBytes(size_t bytes);
  ~GuardedBytes();
  GuardedBytes(const GuardedBytes&) = delete;
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  std::byte *mapping_, *data_;
  size_t mapped_, size_;
};

// While one is alive, a touched guard page ends the launch with a report instead of the process.
class FaultHandler {
 public:
  FaultHandler();
  ~FaultHandler();
};

// ---- The detector behind the memory hooks -----------------------------------------------------

enum class Access { read, write };

// Global memory that kernels may touch; `initialised` says whether it holds data already.
void shadow_add_global(const std::byte* begin, size_t bytes, bool initialised);
void shadow_remove_global(const std::byte* begin);
void shadow_begin_launch();
void shadow_begin_block();
// One access by a thread of the running block. Without hooks these cost nothing and find nothing.
void shadow_access(const void* address, size_t bytes, Access access, unsigned thread,
                   const void* code);
void shadow_copy_issued(const std::byte* shared, int bytes, const void* code);
void shadow_copy_landed(const std::byte* shared, int bytes);
// Bytes that no thread wrote are there; who may read them is not this detector's to say.
void shadow_arrived(const std::byte* shared, size_t bytes);
void shadow_atomic(const void* address, size_t bytes, const void* code);
bool shadow_enabled();

}  // namespace cuda_emulation
