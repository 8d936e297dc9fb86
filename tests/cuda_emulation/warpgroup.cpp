// Products of a warpgroup (wgmma). Operands are found in shared memory by the descriptor alone, at
// the product or as late as at the wait; until the wait the sums are NaN. Each warp of a warpgroup
// goes by itself and makes its 16 of the 64 rows.
//
// Fragments follow the PTX manual: with group = lane / 4 and pair = lane % 4, of each eight columns
// a lane holds columns 2 pair and 2 pair + 1 of row group, then of row group + 8.
#include <bit>
#include <cstring>
#include <deque>
#include <limits>
#include <string>

#include "async.h"

namespace cuda_emulation {
namespace {

constexpr int kRows = 16, kDepth = 16;

struct Product {
  uint64_t a, b;
  int columns, group;
  bool accumulate;
  MmaType type;
};

// The sums of a warp while products of its own are in flight.
struct WarpState {
  std::deque<Product> products;  // not done yet
  std::vector<int> groups;       // of products that have not been waited for
  std::vector<float> sums;       // [row][column]
  std::array<float*, kWarpSize> lanes{};
  int open_group = 0;
  uint32_t issued = 0;  // products of this block
  bool owned = false;   // the sums are the products', not the registers'
  bool fenced = false;
};

std::vector<WarpState> states;
std::vector<std::vector<std::array<uint64_t, 2>>> operands;  // of each warpgroup's products

// An operand's rows, 16 deep.
class Operand {
 public:
  explicit Operand(uint64_t descriptor)
      : start_(static_cast<uint32_t>(descriptor & 0x3fff) * 16),
        leading_(static_cast<uint32_t>(descriptor >> 16 & 0x3fff) * 16),
        stride_(static_cast<uint32_t>(descriptor >> 32 & 0x3fff) * 16),
        base_(static_cast<uint32_t>(descriptor >> 49 & 7)),
        permutation_(static_cast<uint32_t>(descriptor >> 62)) {}

  // 0: not permuted, 1: pieces of 128-byte rows. The two others are not emulated.
  bool is_known() const { return permutation_ <= 1 && base_ == 0; }
  uint32_t address(int row, int depth) const {
    const auto own_row = static_cast<uint32_t>(row);
    const auto byte = static_cast<uint32_t>(depth) * 2;
    if (permutation_ == 1) {
      return permuted(start_ + own_row / 8 * stride_ + own_row % 8 * kRowBytes + byte);
    }
    return start_ + own_row / 8 * stride_ + own_row % 8 * 16 + byte / 16 * leading_ + byte % 16;
  }

 private:
  uint32_t start_, leading_, stride_, base_, permutation_;
};

const float* floats_of(MmaType type) {
  static const auto tables = [] {
    std::array<std::vector<float>, 2> made;
    for (uint32_t bits = 0; bits < 1u << 16; ++bits) {
      const auto half = static_cast<uint16_t>(bits);
      made[0].push_back(fastconv::cpu::to_float(fastconv::cpu::bfloat16{half}));
      made[1].push_back(fastconv::cpu::to_float(fastconv::cpu::float16{half}));
    }
    return made;
  }();
  return tables[type == MmaType::bf16 ? 0 : 1].data();
}

// May this thread's warp read the row, and who must wait for it from now on.
void check_operand(const Operand& operand, int first_row, int count, int warp, uint32_t product,
                   const void* code) {
  const unsigned thread = self().thread.x;
  for (int row = first_row; row < first_row + count; ++row) {
    for (const int depth : {0, 8}) {
      const uint32_t address = operand.address(row, depth);
      Row* at = row_at(address / kRowBytes * kRowBytes);
      if (at == nullptr) {
        report("out of bounds", "an operand lies outside shared memory", code);
        return;
      }
      if (at->barrier < 0) {  // written by threads
        shadow_access(shared_memory_at(address), 16, Access::read, thread, code);
      } else if (at->in_flight > 0 ||
                 knowledge_of(thread).phases[static_cast<size_t>(at->barrier)] < at->phase) {
        report("read of a copy in flight", "an operand whose barrier was not waited for", code);
      }
      at->reads[static_cast<size_t>(warp)] = product;
    }
  }
}

void load(const Operand& operand, int first_row, int count, MmaType type, float* values) {
  const float* table = floats_of(type);
  for (int row = 0; row < count; ++row) {
    for (int depth = 0; depth < kDepth; depth += 8) {
      const uint32_t address = operand.address(first_row + row, depth);
      uint16_t bits[8] = {};
      if (row_at(address / kRowBytes * kRowBytes) != nullptr) {
        std::memcpy(bits, shared_memory_at(address), sizeof bits);
      }
      for (int i = 0; i < 8; ++i) values[row * kDepth + depth + i] = table[bits[i]];
    }
  }
}

void perform(WarpState& state, int warp, const Product& product) {
  thread_local std::vector<float> a, b, across;
  const int columns = product.columns;
  a.resize(kRows * kDepth);
  b.resize(static_cast<size_t>(columns * kDepth));
  across.resize(b.size());
  load(Operand(product.a), warp % 4 * kRows, kRows, product.type, a.data());
  load(Operand(product.b), 0, columns, product.type, b.data());
  for (int column = 0; column < columns; ++column) {
    for (int k = 0; k < kDepth; ++k) across[k * columns + column] = b[column * kDepth + k];
  }
  for (int row = 0; row < kRows; ++row) {
    float* sums = state.sums.data() + row * columns;
    if (!product.accumulate) std::fill(sums, sums + columns, 0.0f);
    for (int k = 0; k < kDepth; ++k) {
      const float factor = a[row * kDepth + k];
      const float* others = across.data() + k * columns;
      for (int column = 0; column < columns; ++column) sums[column] += factor * others[column];
    }
  }
}

// fn(sum of a lane's registers, sum of the warp's matrix)
template <class F>
void for_fragments(WarpState& state, int columns, const F& fn) {
  for (int lane = 0; lane < kWarpSize; ++lane) {
    for (int i = 0; i < columns / 2; ++i) {
      const int row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      fn(state.lanes[static_cast<size_t>(lane)][i],
         state.sums[static_cast<size_t>(row * columns + column)]);
    }
  }
}

void perform_all(WarpState& state, int warp, int before_group) {
  while (!state.products.empty() && state.products.front().group < before_group) {
    perform(state, warp, state.products.front());
    state.products.pop_front();
  }
}

struct MultiplyAdd {
  float* sum;
  int count;
  uint64_t a, b;
  bool accumulate;
  MmaType type;
  const void* code;
};

void run_multiply_add(void* const* arguments, int warp) {
  WarpState& state = states[static_cast<size_t>(warp)];
  const auto& first = *static_cast<MultiplyAdd*>(arguments[0]);
  const int columns = first.count * 2;
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const auto& own = *static_cast<MultiplyAdd*>(arguments[lane]);
    if (own.a != first.a || own.b != first.b || own.accumulate != first.accumulate) {
      report("divergent warp", "descriptors differ within a warp", first.code);
    }
    state.lanes[static_cast<size_t>(lane)] = own.sum;
  }
  auto& issued = operands[static_cast<size_t>(warp / 4)];
  if (state.issued == issued.size()) issued.push_back({first.a, first.b});
  if (issued[state.issued] != std::array{first.a, first.b}) {
    report("divergent warpgroup", "descriptors differ within a warpgroup", first.code);
  }
  ++state.issued;
  if (!Operand(first.a).is_known() || !Operand(first.b).is_known()) {
    report("bad descriptor", "a permutation that is not emulated", first.code);
  }
  check_operand(Operand(first.a), warp % 4 * kRows, kRows, warp, state.issued, first.code);
  check_operand(Operand(first.b), 0, columns, warp, state.issued, first.code);
  if (!state.owned) {
    if (!state.fenced) report("unfenced sums", "no warpgroup_begin before a product", first.code);
    state.owned = true;
    state.sums.resize(static_cast<size_t>(kRows * columns));
    for_fragments(state, columns, [](float& own, float& sum) {
      sum = own;
      own = std::numeric_limits<float>::quiet_NaN();
    });
  }
  state.products.push_back(
      {first.a, first.b, columns, state.open_group, first.accumulate, first.type});
  state.groups.push_back(state.open_group);
  if (settings.copies == CopyTiming::eager ||
      (settings.copies == CopyTiming::random && running->random() % 4 == 0)) {
    perform_all(state, warp, state.open_group + 1);
  }
}

void run_begin(void* const*, int warp) { states[static_cast<size_t>(warp)].fenced = true; }
void run_commit(void* const*, int warp) { ++states[static_cast<size_t>(warp)].open_group; }

void run_wait(void* const* arguments, int warp) {
  WarpState& state = states[static_cast<size_t>(warp)];
  const int first_in_flight = state.open_group - *static_cast<const int*>(arguments[0]);
  perform_all(state, warp, first_in_flight);
  auto& groups = state.groups;
  groups.erase(groups.begin(), std::lower_bound(groups.begin(), groups.end(), first_in_flight));
  const uint32_t ended = state.issued - static_cast<uint32_t>(groups.size());
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    knowledge_of(static_cast<unsigned>(warp) * kWarpSize + lane)
        .products[static_cast<size_t>(warp)] = ended;
  }
  if (!state.owned || !groups.empty()) return;
  for_fragments(state, static_cast<int>(state.sums.size()) / kRows,
                [](float& own, float& sum) { own = sum; });
  state.owned = false;
  state.fenced = false;
}

void run_set_registers(void* const*, int) {}

}  // namespace

void warpgroups_begin_block(unsigned warps) {
  states.assign(warps, {});
  operands.assign((warps + 3) / 4, {});
}

void warpgroups_end_block() {
  for (const WarpState& state : states) {
    if (!state.groups.empty()) {
      report("product in flight at exit", std::to_string(state.groups.size()), nullptr);
    }
  }
}

void set_registers(int registers) {
  const void* code = __builtin_return_address(0);
  if (registers < 24 || registers > 256 || registers % 8 != 0) {
    report("bad registers", std::to_string(registers), code);
  }
  running->warp_collective(run_set_registers, nullptr, code);
}

void warpgroup_begin() {
  running->warp_collective(run_begin, nullptr, __builtin_return_address(0));
}

void warpgroup_commit() {
  running->warp_collective(run_commit, nullptr, __builtin_return_address(0));
}

void warpgroup_wait(int newest_groups_in_flight) {
  running->warp_collective(run_wait, &newest_groups_in_flight, __builtin_return_address(0));
}

void warpgroup_multiply_add(float* sum, int count, uint64_t a, uint64_t b, bool accumulate,
                            MmaType type) {
  MultiplyAdd arguments{sum, count, a, b, accumulate, type, __builtin_return_address(0)};
  running->warp_collective(run_multiply_add, &arguments, arguments.code);
}

}  // namespace cuda_emulation
