// fprop on tensor cores, for 16-bit tensors whose channels lie side by side: the implicit GEMM of
// fprop.cuh with its operands copied as they are, 8 channels at a time, by cp.async into a ring of
// stages in shared memory, and multiplied by mma.sync.
//
// A block of 8 warps makes one 128 x 128 tile (pixels by filters), 64 x 32 in each warp. A step is
// 32 channels of one tap, so that a row of a stage is 64 bytes, four pieces of 16. Piece p of row m
// is kept at place p ^ (m / 2 % 4): the eight rows that ldmatrix reads at once then lie in
// different banks. Where the channels are no multiple of 32 the last step of a tap is filled up
// with zeros.
#pragma once

#include "cuda/conv2d/shape.h"
#include "cuda/element.h"

namespace fastconv::cuda {

struct TensorCoreTile {
  static constexpr int kRows = 128, kColumns = 128, kDepth = 32, kStages = 3;
  static constexpr int kThreads = 256, kWarpRows = 64, kWarpColumns = 32;
  static constexpr int kPiece = 8;  // elements in 16 bytes
  static constexpr int kPieces = kDepth / kPiece;
  // Each thread copies the same piece of two rows of either operand.
  static constexpr int kCopies = kRows * kPieces / kThreads;
};

template <class T>
struct alignas(16) TensorCoreShared {
  using Tile = TensorCoreTile;
  T a[Tile::kStages][Tile::kRows][Tile::kDepth], b[Tile::kStages][Tile::kColumns][Tile::kDepth];
};

template <class T>
struct FpropOperands {
  ConvShape<int32_t> shape;
  const T *input, *weight;
  const T* bias;  // or null
  T* output;
};

// The first channel of a step's 32 and the tap they belong to.
struct DepthCursor {
  int32_t r = 0, s = 0, channel = 0;

  __device__ void advance(const ConvShape<int32_t>& shape) {
    channel += TensorCoreTile::kDepth;
    if (channel < shape.channels) return;
    channel = 0;
    if (++s < shape.S) return;
    s = 0;
    ++r;
  }
};

// Where a row of either operand comes from: an output pixel's corner of the input, or a filter.
template <class T>
struct CopyRow {
  const T* data;
  int32_t h, w;
  bool exists;
};

__device__ inline int swizzled(int row, int piece) {
  return (piece ^ (row / 2 % TensorCoreTile::kPieces)) * TensorCoreTile::kPiece;
}

template <class T>
__device__ CopyRow<T> pixel_row(const FpropOperands<T>& t, int32_t group, int32_t pixel) {
  const auto& s = t.shape;
  if (pixel >= s.batch * s.P * s.Q) return {t.input, 0, 0, false};
  const Digits<int32_t> d = digits(pixel, s.P, s.Q);
  const int32_t h = d.middle * s.stride_h - s.pad_h, w = d.fast * s.stride_w - s.pad_w;
  return {t.input + (d.slow * s.input.n + h * s.input.h + w * s.input.w + group * s.channels), h, w,
          true};
}

template <class T>
__device__ CopyRow<T> filter_row(const FpropOperands<T>& t, int32_t group, int32_t filter) {
  const auto& s = t.shape;
  if (filter >= s.filters) return {t.weight, 0, 0, false};
  return {t.weight + (group * s.filters + filter) * s.weight.n, 0, 0, true};
}

// This thread's share of the copies of one stage.
template <class T>
__device__ void copy_stage(TensorCoreShared<T>& shared, int stage, const FpropOperands<T>& t,
                           const DepthCursor& at,
                           const CopyRow<T> (&pixels)[TensorCoreTile::kCopies],
                           const CopyRow<T> (&filters)[TensorCoreTile::kCopies]) {
  using Tile = TensorCoreTile;
  const auto& s = t.shape;
  const int piece = static_cast<int>(threadIdx.x) % Tile::kPieces;
  const int32_t channel = at.channel + piece * Tile::kPiece;
  const int32_t h = at.r * s.dilation_h, w = at.s * s.dilation_w;
  const int32_t input = h * s.input.h + w * s.input.w + channel;
  const int32_t weight = at.r * s.weight.h + at.s * s.weight.w + channel;
#pragma unroll
  for (int i = 0; i < Tile::kCopies; ++i) {
    const int row =
        static_cast<int>(threadIdx.x) / Tile::kPieces + i * (Tile::kRows / Tile::kCopies);
    const int place = swizzled(row, piece);
    const CopyRow<T>& pixel = pixels[i];
    const bool in_plane = static_cast<uint32_t>(pixel.h + h) < static_cast<uint32_t>(s.H) &&
                          static_cast<uint32_t>(pixel.w + w) < static_cast<uint32_t>(s.W);
    const bool has_channel = channel < s.channels;
    copy_async_16(&shared.a[stage][row][place], pixel.data + input,
                  pixel.exists && in_plane && has_channel);
    copy_async_16(&shared.b[stage][row][place], filters[i].data + weight,
                  filters[i].exists && has_channel);
  }
}

// sum += the product of one stage's rows and columns that are this warp's.
template <class T>
__device__ void multiply_stage(float (&sum)[4][4][4],
                               const T (&a)[TensorCoreTile::kRows][TensorCoreTile::kDepth],
                               const T (&b)[TensorCoreTile::kColumns][TensorCoreTile::kDepth],
                               int first_row, int first_column) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int k = 0; k < TensorCoreTile::kPieces; k += 2) {
    uint32_t row_fragment[4][4], column_fragment[2][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = first_row + i * 16 + lane % 16;
      load_matrices(row_fragment[i], &a[row][swizzled(row, k + lane / 16)]);
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int column = first_column + j * 16 + lane / 16 * 8 + lane % 8;
      load_matrices(column_fragment[j], &b[column][swizzled(column, k + lane / 8 % 2)]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint32_t pair[2] = {column_fragment[j / 2][j % 2 * 2],
                                  column_fragment[j / 2][j % 2 * 2 + 1]};
        multiply_add_tile(sum[i][j], row_fragment[i], pair, T{});
      }
    }
  }
}

// tile = (group * row_tiles + row tile) * column_tiles + column tile; one block for each.
template <class T>
__global__ void __launch_bounds__(TensorCoreTile::kThreads)
    fprop_tensor_core(FpropOperands<T> t, int32_t row_tiles, int32_t column_tiles) {
  using Tile = TensorCoreTile;
  auto& shared = dynamic_shared<TensorCoreShared<T>>();
  const auto& s = t.shape;
  const int32_t tile = static_cast<int32_t>(blockIdx.x);
  const int32_t group = tile / column_tiles / row_tiles;
  const int32_t tile_row = tile / column_tiles % row_tiles * Tile::kRows;
  const int32_t tile_column = tile % column_tiles * Tile::kColumns;

  CopyRow<T> pixels[Tile::kCopies], filters[Tile::kCopies];
#pragma unroll
  for (int i = 0; i < Tile::kCopies; ++i) {
    const int row =
        static_cast<int>(threadIdx.x) / Tile::kPieces + i * (Tile::kRows / Tile::kCopies);
    pixels[i] = pixel_row(t, group, tile_row + row);
    filters[i] = filter_row(t, group, tile_column + row);
  }

  const int32_t steps = s.R * s.S * ((s.channels + Tile::kDepth - 1) / Tile::kDepth);
  DepthCursor next;
  // One group of copies for each step, empty past the end, so that the wait can count.
  const auto copy_step = [&](int32_t step) {
    if (step < steps) {
      copy_stage(shared, step % Tile::kStages, t, next, pixels, filters);
      next.advance(s);
    }
    copy_async_commit();
  };
#pragma unroll
  for (int step = 0; step < Tile::kStages - 1; ++step) copy_step(step);

  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_row = warp % (Tile::kRows / Tile::kWarpRows) * Tile::kWarpRows;
  const int warp_column = warp / (Tile::kRows / Tile::kWarpRows) * Tile::kWarpColumns;
  float sum[4][4][4] = {};
  for (int32_t step = 0; step < steps; ++step) {
    copy_async_wait<Tile::kStages - 2>();
    __syncthreads();  // the step is there, and nobody reads the stage refilled now
    copy_step(step + Tile::kStages - 1);
    const int stage = step % Tile::kStages;
    multiply_stage(sum, shared.a[stage], shared.b[stage], warp_row, warp_column);
  }
  copy_async_wait<0>();

#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int32_t pixel = tile_row + warp_row + i * 16 + half * 8 + lane / 4;
      if (pixel >= s.batch * s.P * s.Q) continue;
      const Digits<int32_t> d = digits(pixel, s.P, s.Q);
      T* out = t.output + (d.slow * s.output.n + d.middle * s.output.h + d.fast * s.output.w);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int which = 0; which < 2; ++which) {
          const int32_t column = tile_column + warp_column + j * 8 + lane % 4 * 2 + which;
          if (column >= s.filters) continue;
          const int32_t filter = group * s.filters + column;
          float value = sum[i][j][half * 2 + which];
          if (t.bias != nullptr) value += Element<T>::load(t.bias[filter]);
          out[filter * s.output.c] = Element<T>::store(value);
        }
      }
    }
  }
}

}  // namespace fastconv::cuda
