// mbarriers and copies by the Tensor Memory Accelerator. A copy's bytes arrive at once or at any
// later time, in any order; a thread that waits for them sleeps.
#include "async.h"

#include <cstring>
#include <stdexcept>
#include <string>

namespace cuda_emulation {
namespace {

using fastconv::cuda::kLeastCorner;
using fastconv::cuda::kMostCorner;
using fastconv::cuda::kMostPixelOffset;
using fastconv::cuda::kMostPixelStep;

struct Barrier {
  const void* address;
  int arrivals, pending;
  int64_t bytes = 0;    // still to come in this phase
  uint32_t phases = 0;  // that have ended
  bool fenced = false;
  unsigned initialised_by;
  Knowledge arrived;  // what those who arrived knew
  std::vector<int> sleepers;
};

struct Copy {
  uint32_t to;  // in the window
  TensorMap map;
  int barrier;
  int32_t at[4], offset[2];
  const void* code;
  unsigned thread;
};

std::vector<Barrier> barriers;
std::vector<Copy> copies;
std::vector<Row> rows;
std::vector<Knowledge> knowledge;

Barrier* find_barrier(const void* address, const void* code) {
  for (Barrier& barrier : barriers) {
    if (barrier.address == address) return &barrier;
  }
  report("bad barrier", "used before its initialisation", code);
  return nullptr;
}

int index_of(const Barrier& barrier) { return static_cast<int>(&barrier - barriers.data()); }

void end_phase_if_complete(Barrier& barrier) {
  if (barrier.pending > 0 || barrier.bytes != 0) return;
  barrier.pending = barrier.arrivals;
  ++barrier.phases;
  barrier.arrived.phases[static_cast<size_t>(index_of(barrier))] = barrier.phases;
  for (const int thread : barrier.sleepers) running->wake(thread);
  barrier.sleepers.clear();
}

// fn(row, address of its data or null where it is zeros) for each row that a copy brings.
template <class F>
void for_source_rows(const Copy& copy, const F& fn) {
  const auto& [tensor, walk, count, walks] = copy.map;
  const auto inside = [&](int dimension, int64_t at) {
    return at >= 0 && at < static_cast<int64_t>(tensor.extent[dimension]);
  };
  int64_t at[4];
  for (int i = 0; i < 4; ++i) at[i] = copy.at[i];
  for (uint32_t row = 0; row < count; ++row) {
    const int64_t pixel[3] = {at[1] + copy.offset[0], at[2] + copy.offset[1], at[3]};
    bool exists = true;
    const auto* data = static_cast<const std::byte*>(tensor.data);
    for (int i = 0; i < 3; ++i) {
      exists = exists && inside(i + 1, pixel[i]);
      data += pixel[i] * static_cast<int64_t>(tensor.stride_bytes[i]);
    }
    fn(row, exists ? data : nullptr);
    if (!walks) {
      ++at[3];
      continue;
    }
    at[1] += walk.step[0];
    if (at[1] <= static_cast<int64_t>(tensor.extent[1]) - 1 + walk.upper[0]) continue;
    at[1] = walk.lower[0];
    at[2] += walk.step[1];
    if (at[2] <= static_cast<int64_t>(tensor.extent[2]) - 1 + walk.upper[1]) continue;
    at[2] = walk.lower[1];
    ++at[3];
  }
}

void land(const Copy& copy) {
  for_source_rows(copy, [&](uint32_t row, const std::byte* source) {
    const uint32_t to = copy.to + row * kRowBytes;
    Row* target = row_at(to);
    if (target == nullptr) return;
    for (uint32_t piece = 0; piece < kRowBytes; piece += 16) {
      std::byte values[16] = {};
      for (uint32_t i = 0; i < 8 && source != nullptr; ++i) {
        const int64_t element = int64_t{copy.at[0]} + piece / 2 + i;
        if (element < 0 || element >= static_cast<int64_t>(copy.map.tensor.extent[0])) continue;
        shadow_access(source + element * 2, 2, Access::read, copy.thread, copy.code);
        std::memcpy(values + i * 2, source + element * 2, 2);
      }
      std::memcpy(shared_memory_at(permuted(to + piece)), values, sizeof values);
    }
    shadow_arrived(shared_memory_at(to), kRowBytes);
    --target->in_flight;
  });
  Barrier& barrier = barriers[static_cast<size_t>(copy.barrier)];
  barrier.bytes -= int64_t{copy.map.rows} * kRowBytes;
  end_phase_if_complete(barrier);
}

}  // namespace

void Knowledge::join(const Knowledge& other) {
  for (size_t i = 0; i < products.size(); ++i) {
    products[i] = std::max(products[i], other.products[i]);
  }
  for (size_t i = 0; i < phases.size(); ++i) phases[i] = std::max(phases[i], other.phases[i]);
}

Knowledge& knowledge_of(unsigned thread) { return knowledge[thread]; }

std::byte* shared_memory_at(uint32_t window_address) {
  return running->shared + (window_address - kWindowStart);
}

Row* row_at(uint32_t window_address) {
  if (window_address < kWindowStart ||
      window_address + kRowBytes > kWindowStart + running->shared_bytes) {
    return nullptr;
  }
  const size_t index = window_address / kRowBytes;
  if (index >= rows.size()) rows.resize(index + 1);
  return &rows[index];
}

uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(static_cast<const std::byte*>(shared) - running->shared) +
         kWindowStart;
}

void async_begin_block() {
  barriers.clear();
  copies.clear();
  rows.assign(running->shared_bytes / kRowBytes + 16, {});  // none is resized while others are held
  knowledge.assign(running->size(), {});
  warpgroups_begin_block(running->size() / kWarpSize);
}

void async_end_block() {
  if (!copies.empty()) {
    report("copy in flight at exit", std::to_string(copies.size()) + " copies", copies[0].code);
  }
  warpgroups_end_block();
}

bool async_land_one() {
  if (copies.empty()) return false;
  const size_t which = running->random() % copies.size();
  const Copy copy = copies[which];
  copies.erase(copies.begin() + static_cast<ptrdiff_t>(which));
  land(copy);
  return true;
}

void async_land_some() {
  while (settings.copies == CopyTiming::random && !copies.empty() && running->random() % 4 == 0) {
    async_land_one();
  }
}

void async_join_threads(unsigned first, unsigned count) {
  if (barriers.empty()) return;
  Knowledge all;
  for (unsigned i = first; i < first + count; ++i) all.join(knowledge[i]);
  for (unsigned i = first; i < first + count; ++i) knowledge[i] = all;
}

void barrier_init(void* barrier, int arrivals) {
  const void* code = __builtin_return_address(0);
  if (barriers.size() == kMaxBarriers) throw std::runtime_error("too many barriers");
  if (reinterpret_cast<uintptr_t>(barrier) % 8 != 0) report("misaligned", "a barrier", code);
  barriers.push_back({barrier, arrivals, arrivals, 0, 0, false, self().thread.x, {}, {}});
}

void fence_async_proxy() {
  for (Barrier& barrier : barriers) {
    if (barrier.initialised_by == self().thread.x) barrier.fenced = true;
  }
}

void barrier_arrive(void* address, int expected_bytes) {
  const void* code = __builtin_return_address(0);
  Barrier* barrier = find_barrier(address, code);
  if (barrier == nullptr) return;
  if (barrier->pending == 0) report("bad barrier", "more arrivals than it was made for", code);
  barrier->bytes += expected_bytes;
  --barrier->pending;
  barrier->arrived.join(knowledge[self().thread.x]);
  end_phase_if_complete(*barrier);
}

void barrier_wait(void* address, uint32_t parity) {
  Barrier* barrier = find_barrier(address, __builtin_return_address(0));
  if (barrier == nullptr) return;
  const unsigned thread = self().thread.x;
  while ((barrier->phases & 1) == parity) {
    barrier->sleepers.push_back(static_cast<int>(thread));
    running->sleep();
  }
  knowledge[thread].join(barrier->arrived);
}

TensorMap make_map(const fastconv::cuda::MappedTensor& tensor,
                   const fastconv::cuda::PixelWalk* walk, uint32_t rows_of_a_copy) {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw std::runtime_error(std::string("a tensor map refuses ") + what);
  };
  require(reinterpret_cast<uintptr_t>(tensor.data) % 16 == 0, "an address");
  for (const uint64_t extent : tensor.extent) {
    require(extent > 0 && extent <= uint64_t{1} << 32, "an extent");
  }
  for (const uint64_t stride : tensor.stride_bytes) {
    require(stride % 16 == 0 && stride < uint64_t{1} << 40, "a stride");
  }
  require(rows_of_a_copy > 0 && rows_of_a_copy <= (walk == nullptr ? 256u : 1024u), "a box");
  if (walk == nullptr) return {tensor, {}, rows_of_a_copy, false};
  for (int i = 0; i < 2; ++i) {
    require(walk->step[i] > 0 && walk->step[i] <= kMostPixelStep, "a step");
    for (const int corner : {walk->lower[i], walk->upper[i]}) {
      require(corner >= kLeastCorner && corner <= kMostCorner, "a corner");
    }
    require(walk->lower[i] < static_cast<int64_t>(tensor.extent[i + 1]) + walk->upper[i],
            "an empty walk");
  }
  return {tensor, *walk, rows_of_a_copy, true};
}

void copy_rows(void* shared, const TensorMap& map, void* address, const int32_t (&at)[4],
               const int32_t (&offset)[2]) {
  const void* code = __builtin_return_address(0);
  Barrier* barrier = find_barrier(address, code);
  if (barrier == nullptr) return;
  if (!barrier->fenced) report("unfenced barrier", "not shown to asynchronous copies", code);
  for (const int32_t own : offset) {
    if (own < 0 || own > kMostPixelOffset) report("bad copy", "offset out of range", code);
  }
  const unsigned thread = self().thread.x;
  Copy copy{shared_address(shared),
            map,
            index_of(*barrier),
            {at[0], at[1], at[2], at[3]},
            {offset[0], offset[1]},
            code,
            thread};
  if (copy.to % kRowBytes != 0) report("misaligned", "a copy to shared memory", code);
  copy.to = copy.to / kRowBytes * kRowBytes;
  const Knowledge& known = knowledge[thread];
  for (uint32_t row = 0; row < map.rows; ++row) {
    Row* target = row_at(copy.to + row * kRowBytes);
    if (target == nullptr) {
      report("out of bounds", "copy beyond shared memory", code);
      continue;
    }
    if (target->in_flight > 0) report("race: copy over a copy", "both in flight", code);
    for (size_t warp = 0; warp < target->reads.size(); ++warp) {
      if (target->reads[warp] > known.products[warp]) {
        report("race: copy over an operand", "products may still read it", code);
      }
    }
    ++target->in_flight;
    target->barrier = copy.barrier;
    target->phase = barrier->phases + 1;
  }
  copies.push_back(copy);
  if (settings.copies == CopyTiming::eager ||
      (settings.copies == CopyTiming::random && running->random() % 4 == 0)) {
    copies.pop_back();
    land(copy);
  }
}

}  // namespace cuda_emulation
