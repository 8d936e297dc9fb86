// A tile of a product of whole warpgroups (wgmma): 128 rows by 128 or 256 columns of sums, in two
// warpgroups of 64 rows each, from operands that a warp of their own copies by the Tensor Memory
// Accelerator into a ring of stages, 64 16-bit elements of depth in each.
#pragma once

#include <algorithm>

#include "cuda/device_sm90.h"
#include "cuda/element.h"

namespace fastconv::cuda {

struct WarpgroupTile {
  static constexpr int kRows = 128, kRowsOfWarpgroup = 64, kRowsOfWarp = 16;
  static constexpr int kDepth = 64, kProductDepth = 16;
  // Two warpgroups multiply, and the first warp of a third copies: it needs few registers.
  static constexpr int kConsumers = 8, kThreads = (kConsumers + 4) * 32;
  static constexpr int kConsumerRegisters = 232, kProducerRegisters = 40;
  static constexpr int kStoredColumns = 64;  // of a warp, through shared memory at once
};

template <class T, int columns>
struct WarpgroupShared {
  using Tile = WarpgroupTile;
  static constexpr int kStages = columns == 256 ? 4 : 6;
  static constexpr int kStageBytes = (Tile::kRows + columns) * Tile::kDepth * int{sizeof(T)};
  T a[kStages][Tile::kRows * Tile::kDepth];
  T b[kStages][columns * Tile::kDepth];
  T stored[Tile::kConsumers][Tile::kRowsOfWarp * Tile::kStoredColumns];
  AsyncBarrier full[kStages], empty[kStages];
};

// Both sides walk the ring alike: the stage that is next, and the parity of its turn.
template <int stages>
struct RingPosition {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void advance() {
    if (++stage < stages) return;
    stage = 0;
    parity ^= 1;
  }
};

// The sums of one tile, `steps` steps deep; `ring` goes on where the tile before left it. A stage
// is handed back one step late, when the products that read it are known to have ended.
template <class T, int columns>
__device__ void multiply_steps(WarpgroupShared<T, columns>& shared, float (&sum)[columns / 2],
                               int32_t steps,
                               RingPosition<WarpgroupShared<T, columns>::kStages>& ring) {
  using Tile = WarpgroupTile;
  const int warpgroup = static_cast<int>(threadIdx.x) / 128;
  const bool first_lane = threadIdx.x % 32 == 0;
  int stage_before = 0;
  for (int32_t step = 0; step < steps; ++step) {
    barrier_wait(shared.full[ring.stage], ring.parity);
    const uint64_t a =
        operand(shared.a[ring.stage] + warpgroup * Tile::kRowsOfWarpgroup * Tile::kDepth);
    const uint64_t b = operand(shared.b[ring.stage]);
    warpgroup_begin(sum);
#pragma unroll
    for (int k = 0; k < Tile::kDepth / Tile::kProductDepth; ++k) {
      warpgroup_multiply_add(sum, a + k * kOperandStep, b + k * kOperandStep, step > 0 || k > 0,
                             T{});
    }
    warpgroup_commit();
    warpgroup_wait<1>(sum);  // the step before has ended
    if (step > 0 && first_lane) barrier_arrive(shared.empty[stage_before]);
    stage_before = ring.stage;
    ring.advance();
  }
  warpgroup_wait<0>(sum);
  if (first_lane) barrier_arrive(shared.empty[stage_before]);
}

// Where a warp's 16 rows and 64 columns wait to be stored: pieces of 16 bytes, permuted so that
// neither side meets itself in a bank.
template <class T>
__device__ T* stored_piece(T* stored, int row, int piece) {
  return stored + row * WarpgroupTile::kStoredColumns + (piece ^ row % 8) * 8;
}

template <class T>
struct alignas(16) StoredPiece {
  T values[8];
};

// Stores a warp's rows of a tile, 64 columns after another, 128 bytes of a row side by side.
// place(row) is where a row of this warp starts, or null; store_columns(from, to, column) stores
// a piece of eight. added(column) is what a column's sums get on top.
template <class T, int count, class Place, class Added, class Store>
__device__ void store_rows(T* stored, const float (&sum)[count], int32_t first_column,
                           int32_t column_end, const Place& place, const Added& added,
                           const Store& store) {
  using Tile = WarpgroupTile;
  constexpr int kPieces = Tile::kStoredColumns / 8;
  constexpr int kTurns = Tile::kRowsOfWarp * kPieces / 32;
  struct alignas(2 * sizeof(T)) Pair {
    T first, second;
  };
  const int lane = static_cast<int>(threadIdx.x) % 32;
  T* rows[kTurns];
#pragma unroll
  for (int i = 0; i < kTurns; ++i) rows[i] = place(i * (32 / kPieces) + lane / kPieces);
#pragma unroll
  for (int chunk = 0; chunk < count * 2 / Tile::kStoredColumns; ++chunk) {
    const int32_t chunk_column = first_column + chunk * Tile::kStoredColumns;
    if (chunk_column >= column_end) continue;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      const int32_t column = chunk_column + piece * 8 + lane % 4 * 2;
      const float first = added(column), second = added(column + 1);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int at = (chunk * kPieces + piece) * 4 + half * 2;
        T* pair = stored_piece(stored, half * 8 + lane / 4, piece) + lane % 4 * 2;
        *reinterpret_cast<Pair*>(pair) = {Element<T>::store(sum[at] + first),
                                          Element<T>::store(sum[at + 1] + second)};
      }
    }
    __syncwarp();  // the columns are there
#pragma unroll
    for (int i = 0; i < kTurns; ++i) {
      if (rows[i] == nullptr) continue;
      const int piece = lane % kPieces;
      const T* from = stored_piece(stored, i * (32 / kPieces) + lane / kPieces, piece);
      store(*reinterpret_cast<const StoredPiece<T>*>(from), rows[i], chunk_column + piece * 8);
    }
    __syncwarp();  // the columns have been read
  }
}

}  // namespace fastconv::cuda
