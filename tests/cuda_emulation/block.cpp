// One block of threads: the scheduler, the barrier and the meeting point of a warp.
//
// The scheduler is depth first by warp: the first warp in a random order runs until it blocks. A
// fair scheduler keeps all warps nearly in step and then never sees one warp overwrite what another
// still reads.
#include <bit>
#include <cstring>
#include <numeric>

#include "async.h"
#include "runtime.h"

namespace cuda_emulation {

Settings settings;
Block* running = nullptr;

namespace {

Stacks& stacks() {
  static Stacks all;
  return all;
}

}  // namespace

Block::Block(unsigned size, unsigned grid_size, size_t bytes, void (*body)(const void*),
             const void* context)
    : random(settings.seed),
      shared_bytes(bytes),
      size_(size),
      grid_size_(grid_size),
      body_(body),
      context_(context),
      fibers_(size),
      warps_(size / kWarpSize),
      order_(size / kWarpSize),
      at_barrier_(size / kWarpSize) {}

Block::~Block() = default;

bool Block::run(unsigned block_index) {
  // 0xFF is a NaN in every float format: what nobody has written shows in the result.
  if (shared_bytes > 0) std::memset(shared, 0xFF, shared_bytes);
  epoch = 0;
  warp_epoch.fill(0);
  live_ = size_;
  waiting_ = 0;
  asleep_ = 0;
  stuck_ = false;
  async_begin_block();
  for (unsigned i = 0; i < size_; ++i) {
    fibers_[i].stack_pointer = stacks().prepare(static_cast<int>(i), entry);
    fibers_[i].identity = {{i}, {block_index}, {size_}, {grid_size_}};
    fibers_[i].copies.clear();
    fibers_[i].copy_group = 0;
  }
  for (Warp& warp : warps_) warp = {~0u, 0, nullptr, {}};
  for (uint32_t& lanes : at_barrier_) lanes = 0;
  std::iota(order_.begin(), order_.end(), 0);
  if (settings.order == Order::descending) std::reverse(order_.begin(), order_.end());
  shuffle_order();
  current_ = pick();
  cuda_emulation_switch(&main_stack_, fibers_[current_].stack_pointer);
  if (!stuck_) async_end_block();
  return !stuck_;
}

void Block::entry() {
  running->body_(running->context_);
  running->finish();
}

void Block::finish() {
  for (const PendingCopy& copy : copies()) {
    report("copy in flight at exit", std::to_string(copy.bytes) + " bytes", nullptr);
  }
  --live_;
  if (live_ > 0 && waiting_ == live_) {
    report("barrier after exit",
           std::to_string(live_) + " threads wait at a barrier that this one never reached",
           nullptr);
    release_barrier();
  }
  suspend();
}

void Block::shuffle_order() {
  if (settings.order == Order::random) std::shuffle(order_.begin(), order_.end(), random);
}

// The next thread to run, taken out of its warp's ready lanes; -1 where there is none.
int Block::pick() {
  if (settings.order == Order::random && random() % 256 == 0) shuffle_order();
  for (const int index : order_) {
    uint32_t& ready = warps_[index].ready;
    if (ready == 0) continue;
    int lane = std::countr_zero(ready);
    if (settings.order == Order::descending) lane = 31 - std::countl_zero(ready);
    if (settings.order == Order::random) {
      const int turn = static_cast<int>(random() % kWarpSize);
      lane = (std::countr_zero(std::rotr(ready, turn)) + turn) % kWarpSize;
    }
    ready &= ~(1u << lane);
    return index * kWarpSize + lane;
  }
  return -1;
}

// The running thread cannot go on: the next one that can takes over.
void Block::suspend() {
  const int left = current_;
  async_land_some();
  int next = pick();
  while (next < 0 && live_ > 0 && async_land_one()) next = pick();
  if (next == left) return;
  if (next >= 0) {
    current_ = next;
    cuda_emulation_switch(&fibers_[left].stack_pointer, fibers_[next].stack_pointer);
    return;
  }
  if (live_ > 0) {
    report("deadlock",
           std::to_string(waiting_) + " of " + std::to_string(live_) +
               " threads wait at a barrier, " + std::to_string(asleep_) +
               " at an asynchronous one, the others for the rest of their warp",
           nullptr);
    stuck_ = true;
  }
  cuda_emulation_switch(&fibers_[left].stack_pointer, main_stack_);
}

void Block::abandon() {
  stuck_ = true;
  void* never_resumed;
  cuda_emulation_switch(&never_resumed, main_stack_);
  __builtin_unreachable();
}

void Block::sleep() {
  ++asleep_;
  suspend();
  --asleep_;
}

void Block::barrier(const void* code) {
  if (live_ < size_) {
    report("barrier after exit",
           std::to_string(size_ - live_) + " threads have ended without reaching this barrier",
           code);
  }
  at_barrier_[current_ / kWarpSize] |= 1u << (current_ % kWarpSize);
  if (++waiting_ == live_) release_barrier();
  suspend();
}

void Block::release_barrier() {
  waiting_ = 0;
  ++epoch;
  async_join_threads(0, size_);
  for (size_t i = 0; i < warps_.size(); ++i) {
    warps_[i].ready |= at_barrier_[i];
    at_barrier_[i] = 0;
  }
  shuffle_order();
}

void Block::warp_collective(Collective collective, void* arguments, const void* code) {
  const int index = current_ / kWarpSize, lane = current_ % kWarpSize;
  Warp& warp = warps_[index];
  if (warp.arrived == 0) warp.collective = collective;
  if (warp.collective != collective) {
    report("divergent warp", "lanes of one warp wait in different warp operations", code);
  }
  warp.arguments[lane] = arguments;
  warp.arrived |= 1u << lane;
  if (~warp.arrived != 0) {
    suspend();
    return;
  }
  warp.arrived = 0;
  collective(warp.arguments, index);
  warp.ready |= ~(1u << lane);
}

void block_barrier() { running->barrier(__builtin_return_address(0)); }
const Thread& self() { return running->thread(); }
void* dynamic_shared_memory() { return running->shared; }

void run_grid(const char* kernel, unsigned grid, unsigned block, size_t shared_bytes,
              void (*body)(const void*), const void* context) {
  (void)kernel;
  if (grid == 0 || block == 0 || block > kMaxThreads || block % kWarpSize != 0) {
    report("bad launch", std::to_string(grid) + " blocks of " + std::to_string(block), nullptr);
    return;
  }
  constexpr size_t kMaxShared = size_t{227} << 10;
  if (shared_bytes > kMaxShared) {
    report("bad launch", std::to_string(shared_bytes) + " bytes of shared memory", nullptr);
    return;
  }
  Block state(block, grid, shared_bytes, body, context);
  const GuardedBytes shared(shared_bytes);
  state.shared = shared.data();
  const FaultHandler faults;
  running = &state;
  shadow_begin_launch();
  bool good = true;
  for (unsigned index = 0; index < grid && good; ++index) {
    shadow_begin_block();
    good = state.run(index);
  }
  running = nullptr;
  ++settings.seed;
}

}  // namespace cuda_emulation
