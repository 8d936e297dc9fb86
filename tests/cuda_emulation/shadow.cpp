// The detector: races, reads of what nobody wrote or has not arrived yet, and accesses outside
// every buffer, seen through the hooks that -fsanitize=thread puts before each load and store of
// the kernels. libtsan is not linked: the hooks are ours.
//
// Each two bytes of shared and global memory have a cell that remembers the last write and the last
// reads. Two accesses by different threads, one of them a write, are a race unless a barrier of the
// block, or of the warp that both belong to, lies between them. Blocks of one launch are never
// ordered. Shuffles, matrix loads and products do not count as barriers.
#include <algorithm>
#include <map>
#include <memory>

#include "runtime.h"

namespace cuda_emulation {
namespace {

constexpr size_t kCellBytes = 2;

// Who made an access. Reads by several threads merge into a wider scope.
struct Mark {
  enum Scope : uint8_t { none, thread, warp, block, grid } scope = none;
  uint16_t who = 0;
  uint32_t block_index = 0, epoch = 0, warp_epoch = 0;
};

struct Cell {
  uint64_t generation = 0;  // of the launch (global memory) or the block (shared memory)
  bool initialised = false, in_flight = false;
  Mark write, read;
};

struct Region {
  const std::byte* begin;
  size_t bytes;
  std::vector<Cell> cells;
};

std::map<const std::byte*, std::unique_ptr<Region>> global_regions;
Region* latest = nullptr;
Region shared_region{nullptr, 0, {}};
uint64_t generation = 0, launch_generation = 0, block_generation = 0;

Mark mark_of(unsigned thread) {
  return {Mark::thread, static_cast<uint16_t>(thread), running->thread().block.x, running->epoch,
          running->warp_epoch[thread / kWarpSize]};
}

// May `then` and an access by `now` (always one thread) touch one cell in either order?
bool unordered(const Mark& then, const Mark& now) {
  if (then.scope == Mark::none) return false;
  if (then.scope == Mark::grid) return true;
  if (then.block_index != now.block_index) return true;
  if (then.epoch != now.epoch) return false;
  if (then.scope == Mark::block) return true;
  if (then.scope == Mark::thread && then.who == now.who) return false;
  return then.who / kWarpSize != now.who / kWarpSize || then.warp_epoch == now.warp_epoch;
}

void merge(Mark& reads, const Mark& now) {
  const bool both = unordered(reads, now);
  if (!both) {
    reads = now;
  } else if (reads.block_index != now.block_index || reads.scope == Mark::grid) {
    reads.scope = Mark::grid;
  } else if (reads.who / kWarpSize != now.who / kWarpSize || reads.scope == Mark::block) {
    reads.scope = Mark::block;
  } else {
    reads.scope = Mark::warp;
  }
}

// The region that an access is meant for: it begins inside, or in the guard page after the end.
Region* find_region(const std::byte* address) {
  constexpr size_t kGuard = 4096;
  const auto meant_for = [&](const Region& region) {
    return address >= region.begin && address < region.begin + region.bytes + kGuard;
  };
  if (shared_region.bytes > 0 && meant_for(shared_region)) return &shared_region;
  if (latest != nullptr && address >= latest->begin && address < latest->begin + latest->bytes) {
    return latest;
  }
  auto after = global_regions.upper_bound(address);
  if (after == global_regions.begin()) return nullptr;
  Region* region = std::prev(after)->second.get();
  if (!meant_for(*region)) return nullptr;
  latest = region;
  return region;
}

Cell& current_cell(Region& region, size_t index) {
  Cell& cell = region.cells[index];
  const bool shared = &region == &shared_region;
  const uint64_t now = shared ? block_generation : launch_generation;
  if (cell.generation != now) {
    cell.generation = now;
    cell.write = {};
    cell.read = {};
    cell.in_flight = false;
    if (shared) cell.initialised = false;
  }
  return cell;
}

std::string place_in(const Region& region, const std::byte* address) {
  return std::string(&region == &shared_region ? "shared" : "global") + " memory, byte " +
         std::to_string(address - region.begin) + " of " + std::to_string(region.bytes);
}

// fn(cell) for every cell of the access; reports and skips what lies outside.
template <class F>
void for_cells(const void* address, size_t bytes, unsigned thread, const void* code, const F& fn) {
  const auto* begin = static_cast<const std::byte*>(address);
  Region* region = find_region(begin);
  if (region == nullptr) return;
  const size_t first = static_cast<size_t>(begin - region->begin);
  if (first + bytes > region->bytes) {
    report_for("out of bounds", place_in(*region, begin), code, thread);
    return;
  }
  for (size_t i = first / kCellBytes; i <= (first + bytes - 1) / kCellBytes; ++i) {
    fn(*region, current_cell(*region, i), region->begin + i * kCellBytes);
  }
}

}  // namespace

void shadow_add_global(const std::byte* begin, size_t bytes, bool initialised) {
  if (!shadow_enabled() || bytes == 0) return;
  auto region = std::make_unique<Region>();
  region->begin = begin;
  region->bytes = bytes;
  region->cells.resize((bytes + kCellBytes - 1) / kCellBytes);
  for (Cell& cell : region->cells) cell.initialised = initialised;
  global_regions[begin] = std::move(region);
}

void shadow_remove_global(const std::byte* begin) {
  global_regions.erase(begin);
  latest = nullptr;
}

void shadow_begin_launch() {
  launch_generation = ++generation;
  if (!shadow_enabled()) return;
  shared_region.begin = running->shared;
  shared_region.bytes = running->shared_bytes;
  const size_t cells = (running->shared_bytes + kCellBytes - 1) / kCellBytes;
  if (shared_region.cells.size() < cells) shared_region.cells.resize(cells);
}

void shadow_begin_block() { block_generation = ++generation; }

void shadow_access(const void* address, size_t bytes, Access access, unsigned thread,
                   const void* code) {
  if (!shadow_enabled()) return;
  const Mark now = mark_of(thread);
  for_cells(address, bytes, thread, code,
            [&](const Region& region, Cell& cell, const std::byte* at) {
              const auto found = [&](const char* kind) {
                report_for(kind, place_in(region, at), code, thread);
              };
              if (access == Access::read) {
                if (cell.in_flight) {
                  found("read of a copy in flight");
                } else if (!cell.initialised) {
                  found("read of uninitialised memory");
                }
                if (unordered(cell.write, now)) found("race: read after write");
                merge(cell.read, now);
              } else {
                if (cell.in_flight) found("write over a copy in flight");
                if (unordered(cell.write, now)) found("race: write after write");
                if (unordered(cell.read, now)) found("race: write after read");
                cell.write = now;
                cell.initialised = true;
              }
            });
}

void shadow_copy_issued(const std::byte* shared, int bytes, const void* code) {
  if (!shadow_enabled()) return;
  const unsigned thread = self().thread.x;
  shadow_access(shared, static_cast<size_t>(bytes), Access::write, thread, code);
  for_cells(shared, static_cast<size_t>(bytes), thread, code,
            [](const Region&, Cell& cell, const std::byte*) { cell.in_flight = true; });
}

// The bytes are there for the thread that waited, and for the others after the next barrier.
void shadow_copy_landed(const std::byte* shared, int bytes) {
  if (!shadow_enabled()) return;
  const Mark now = mark_of(self().thread.x);
  for_cells(shared, static_cast<size_t>(bytes), now.who, nullptr,
            [&](const Region&, Cell& cell, const std::byte*) {
              cell.in_flight = false;
              cell.write = now;
            });
}

void shadow_arrived(const std::byte* shared, size_t bytes) {
  if (!shadow_enabled()) return;
  for_cells(shared, bytes, 0, nullptr, [](const Region&, Cell& cell, const std::byte*) {
    cell.initialised = true;
    cell.write = cell.read = {};
  });
}

void shadow_atomic(const void* address, size_t bytes, const void* code) {
  if (!shadow_enabled()) return;
  for_cells(address, bytes, self().thread.x, code,
            [&](const Region& region, const Cell& cell, const std::byte* at) {
              if (!cell.initialised) {
                report("read of uninitialised memory", place_in(region, at), code);
              }
            });
}

}  // namespace cuda_emulation

#ifdef CUDA_EMULATION_MEMORY_HOOKS

namespace cuda_emulation {

bool shadow_enabled() { return true; }

namespace {

void hook(const void* address, size_t bytes, Access access, const void* code) {
  if (running == nullptr) return;
  shadow_access(address, bytes, access, self().thread.x, code);
}

}  // namespace
}  // namespace cuda_emulation

#define HOOK(name, bytes, access)                                        \
  extern "C" void name(const void* address) {                            \
    cuda_emulation::hook(address, bytes, cuda_emulation::Access::access, \
                         __builtin_return_address(0));                   \
  }
#define HOOKS(bytes)                                \
  HOOK(__tsan_read##bytes, bytes, read)             \
  HOOK(__tsan_write##bytes, bytes, write)           \
  HOOK(__tsan_unaligned_read##bytes, bytes, read)   \
  HOOK(__tsan_unaligned_write##bytes, bytes, write) \
  HOOK(__tsan_volatile_read##bytes, bytes, read)    \
  HOOK(__tsan_volatile_write##bytes, bytes, write)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
#undef HOOKS
#undef HOOK

extern "C" void __tsan_read_range(const void* address, size_t bytes) {
  if (bytes > 0) {
    cuda_emulation::hook(address, bytes, cuda_emulation::Access::read, __builtin_return_address(0));
  }
}
extern "C" void __tsan_write_range(const void* address, size_t bytes) {
  if (bytes > 0) {
    cuda_emulation::hook(address, bytes, cuda_emulation::Access::write,
                         __builtin_return_address(0));
  }
}
// Of a launch's static variable: has it been made?
extern "C" char __tsan_atomic8_load(const volatile char* made, int) {
  return __atomic_load_n(made, __ATOMIC_ACQUIRE);
}
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(const void*) {}
extern "C" void __tsan_func_exit() {}

#else

namespace cuda_emulation {
bool shadow_enabled() { return false; }
}  // namespace cuda_emulation

#endif
