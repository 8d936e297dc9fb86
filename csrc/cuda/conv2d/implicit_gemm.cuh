// Convolution as a matrix product whose operands are gathered from the tensors while they are
// loaded: no im2col matrix exists. One kernel serves all three directions; a direction only says
// where row m, column n and depth k of its product lie in the tensors (fprop.cuh, dgrad.cuh,
// wgrad.cuh).
//
// What makes that cheap is that the place of operand element (m, k) is a sum: an offset and a pixel
// (h, w) from m alone, plus an offset and a pixel from k alone, with zero where the pixel lies
// outside the plane. So the divisions that take m and k apart are done once for each m of a tile
// and once for each k of a chunk, into tables in shared memory, and the loads only add and compare.
//
// A block of 256 threads makes one 64 x 64 tile, 4 x 4 in each thread, 16 deep at a time, from two
// stages of shared memory. Sums are kept per chunk of 256 and then added up, which holds the error
// of a long float sum near that of a short one (design.md section 5).
#pragma once

#include <cstdint>

#include "cuda/conv2d/place.cuh"
#include "cuda/element.h"

namespace fastconv::cuda {

constexpr int kTile = 64;
constexpr int kStep = 16;
constexpr int kChunk = 256;
constexpr int kGemmThreads = 256;
constexpr int kPerThread = 4;

// One operand as the kernel loads it. `limit_h` x `limit_w` is the plane its pixels lie in; an
// operand that is no image has all its pixels at (0, 0) of a plane of one. `depth_fastest` says
// that neighbours in memory are neighbours in depth rather than in row or column.
template <class T, class Index>
struct Operand {
  const T* data;
  Index limit_h, limit_w;
  bool depth_fastest;
};

// A product that is one of many: rows x columns, summed over [depth_begin, depth_end).
template <class Index>
struct Extent {
  Index rows, columns, depth_begin, depth_end;
};

template <class Accumulator, class Index>
struct GemmShared {
  static constexpr int kPitch = kTile + 4;  // rows 16 bytes apart in their banks
  Accumulator a[2][kStep][kPitch], b[2][kStep][kPitch];
  Place<Index> row[kTile], column[kTile], depth_a[kChunk], depth_b[kChunk];
  Index row_out[kTile], column_out[kTile];
};

// Which element of a 64 x 16 operand tile a thread loads in turn i, so that neighbouring threads
// read neighbouring memory.
struct LoadSlot {
  int position, depth;
};
__device__ inline LoadSlot load_slot(int i, bool depth_fastest) {
  const int element = static_cast<int>(threadIdx.x) + i * kGemmThreads;
  if (depth_fastest) return {element / kStep, element % kStep};
  return {element % kTile, element / kTile};
}

template <class T, class Index>
__device__ typename Element<T>::Accumulator gathered(const Operand<T, Index>& operand,
                                                     const Place<Index>& position,
                                                     const Place<Index>& depth) {
  if (!inside(position.h + depth.h, operand.limit_h) ||
      !inside(position.w + depth.w, operand.limit_w)) {
    return 0;
  }
  return Element<T>::load(operand.data[wrapping_add(position.offset, depth.offset)]);
}

// The 4 elements of one operand that this thread brings to the next stage.
template <class T, class Index>
__device__ void fetch(typename Element<T>::Accumulator (&values)[kPerThread],
                      const Operand<T, Index>& operand, const Place<Index>* positions,
                      int position_count, const Place<Index>* depths, int first_depth,
                      int depth_count) {
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const LoadSlot slot = load_slot(i, operand.depth_fastest);
    const int depth = first_depth + slot.depth;
    values[i] = slot.position < position_count && depth < depth_count
                    ? gathered(operand, positions[slot.position], depths[depth])
                    : 0;
  }
}

template <class Accumulator, int kPitch>
__device__ void put_stage(Accumulator (&stage)[kStep][kPitch],
                          const Accumulator (&values)[kPerThread], bool depth_fastest) {
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const LoadSlot slot = load_slot(i, depth_fastest);
    stage[slot.depth][slot.position] = values[i];
  }
}

template <class Accumulator, int kPitch>
__device__ void multiply_stage(Accumulator (&sum)[kPerThread][kPerThread],
                               const Accumulator (&a)[kStep][kPitch],
                               const Accumulator (&b)[kStep][kPitch], int first_row,
                               int first_column) {
#pragma unroll
  for (int k = 0; k < kStep; ++k) {
    Accumulator row[kPerThread], column[kPerThread];
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) row[i] = a[k][first_row + i];
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) column[i] = b[k][first_column + i];
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
#pragma unroll
      for (int j = 0; j < kPerThread; ++j) sum[i][j] += row[i] * column[j];
    }
  }
}

template <class Index>
__device__ int clipped(Index rest, int most) {
  return rest < most ? static_cast<int>(rest) : most;
}

// Product is a direction. tile = (part * row_tiles + row tile) * column_tiles + column tile; the
// number of tiles is that of the largest part, and smaller parts leave some of theirs empty.
template <class Product>
__global__ void __launch_bounds__(kGemmThreads)
    implicit_gemm(Product product, int64_t parts, int64_t row_tiles, int64_t column_tiles) {
  using Element = typename Product::Element;
  using Index = typename Product::Index;
  using Accumulator = typename fastconv::cuda::Element<Element>::Accumulator;
  auto& shared = dynamic_shared<GemmShared<Accumulator, Index>>();
  const int thread = static_cast<int>(threadIdx.x);
  const int across = thread % (kTile / kPerThread), along = thread / (kTile / kPerThread);
  // Neighbouring threads write neighbouring memory.
  const int first_row = (product.rows_fastest_out ? across : along) * kPerThread;
  const int first_column = (product.rows_fastest_out ? along : across) * kPerThread;

  for (int64_t tile = blockIdx.x; tile < parts * row_tiles * column_tiles; tile += gridDim.x) {
    const auto part = product.part(static_cast<Index>(tile / column_tiles / row_tiles));
    const Extent<Index> extent = part.extent;
    const int64_t row_start = tile / column_tiles % row_tiles * kTile;
    const int64_t column_start = tile % column_tiles * kTile;
    if (row_start >= extent.rows || column_start >= extent.columns) continue;
    const Index tile_row = static_cast<Index>(row_start);
    const Index tile_column = static_cast<Index>(column_start);
    const int rows = clipped(extent.rows - tile_row, kTile);
    const int columns = clipped(extent.columns - tile_column, kTile);

    __syncthreads();  // the tile before is done with the tables
    if (thread < rows) {
      shared.row[thread] = product.row(part, tile_row + thread);
      shared.row_out[thread] = product.row_out(part, tile_row + thread);
    }
    const int column_thread = thread - kTile;
    if (column_thread >= 0 && column_thread < columns) {
      shared.column[column_thread] = product.column(part, tile_column + column_thread);
      shared.column_out[column_thread] = product.column_out(part, tile_column + column_thread);
    }
    __syncthreads();  // the row and column tables are there

    Accumulator total[kPerThread][kPerThread] = {};
    for (Index chunk = extent.depth_begin; chunk < extent.depth_end; chunk += kChunk) {
      const int depth = clipped(extent.depth_end - chunk, kChunk);
      if (chunk != extent.depth_begin) __syncthreads();  // the chunk before is done
      if (thread < depth) {
        shared.depth_a[thread] = product.depth_a(part, chunk + thread);
        shared.depth_b[thread] = product.depth_b(part, chunk + thread);
      }
      __syncthreads();  // the depth tables are there

      Accumulator sum[kPerThread][kPerThread] = {};
      Accumulator next_a[kPerThread], next_b[kPerThread];
      fetch(next_a, product.a, shared.row, rows, shared.depth_a, 0, depth);
      fetch(next_b, product.b, shared.column, columns, shared.depth_b, 0, depth);
      for (int step = 0; step * kStep < depth; ++step) {
        const int stage = step % 2;
        put_stage(shared.a[stage], next_a, product.a.depth_fastest);
        put_stage(shared.b[stage], next_b, product.b.depth_fastest);
        __syncthreads();  // the stage is there, and nobody reads the other one
        if ((step + 1) * kStep < depth) {
          const int ahead = (step + 1) * kStep;
          fetch(next_a, product.a, shared.row, rows, shared.depth_a, ahead, depth);
          fetch(next_b, product.b, shared.column, columns, shared.depth_b, ahead, depth);
        }
        multiply_stage(sum, shared.a[stage], shared.b[stage], first_row, first_column);
      }
#pragma unroll
      for (int i = 0; i < kPerThread; ++i) {
#pragma unroll
        for (int j = 0; j < kPerThread; ++j) total[i][j] += sum[i][j];
      }
    }

#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int row = first_row + i;
#pragma unroll
      for (int j = 0; j < kPerThread; ++j) {
        const int column = first_column + j;
        if (row < rows && column < columns) {
          product.store(part, wrapping_add(shared.row_out[row], shared.column_out[column]),
                        tile_column + column, total[i][j]);
        }
      }
    }
  }
}

}  // namespace fastconv::cuda
