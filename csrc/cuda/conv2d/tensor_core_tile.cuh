// A tile of a product on tensor cores: how its operands lie in shared memory and how warps multiply
// them by mma.sync.
//
// A block of 8 warps makes 128 x 128 sums, 64 x 32 in each warp. A step brings 64 bytes of depth
// (32 16-bit elements, 16 floats) of 128 rows and 128 columns, copied as they lie in the tensors,
// in pieces of 16 bytes. Where an operand's neighbours in memory are neighbours in depth, a stage
// holds 128 rows of 4 pieces; where they are neighbouring rows or columns, it holds a row of 128
// for each depth. Pieces are permuted so that what a warp reads at once lies in different banks.
#pragma once

#include "cuda/element.h"

namespace fastconv::cuda {

struct TensorCoreTile {
  static constexpr int kSide = 128, kStepBytes = 64, kStages = 3;
  static constexpr int kThreads = 256, kWarpRows = 64, kWarpColumns = 32;
  static constexpr int kPieceBytes = 16;
  static constexpr int kCopies = kSide * kStepBytes / kPieceBytes / kThreads;  // of each operand
};

// Elements in a piece of 16 bytes, and the depth of a step.
template <class T>
constexpr int kPiece = TensorCoreTile::kPieceBytes / static_cast<int>(sizeof(T));
template <class T>
constexpr int kStepDepth = TensorCoreTile::kStepBytes / static_cast<int>(sizeof(T));

struct Coordinates {
  int position, depth;
};

// One step of one operand.
template <class T, bool depth_fastest>
struct OperandStage;

template <class T>
struct OperandStage<T, true> {
  using Tile = TensorCoreTile;
  static constexpr int kPieces = Tile::kStepBytes / Tile::kPieceBytes;
  T data[Tile::kSide * kStepDepth<T>];

  // The piece that this thread copies in turn i.
  __device__ static Coordinates slot(int i) {
    const int thread = static_cast<int>(threadIdx.x);
    return {thread / kPieces + i * (Tile::kThreads / kPieces), thread % kPieces * kPiece<T>};
  }
  // Of the piece that starts there.
  __device__ T* piece(int position, int depth) {
    return data + position * kStepDepth<T> +
           ((depth / kPiece<T>)^(position / 2 % kPieces)) * kPiece<T>;
  }
  // mma's fragments of 16 rows of A, or of 16 columns of B, two pieces deep.
  __device__ void load_rows(uint32_t (&fragment)[4], int row, int depth) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    load_matrices(fragment, piece(row + lane % 16, depth + lane / 16 * kPiece<T>));
  }
  __device__ void load_columns(uint32_t (&fragment)[4], int column, int depth) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    load_matrices(fragment,
                  piece(column + lane / 16 * 8 + lane % 8, depth + lane / 8 % 2 * kPiece<T>));
  }
};

template <class T>
struct OperandStage<T, false> {
  using Tile = TensorCoreTile;
  static constexpr int kPieces = Tile::kSide / kPiece<T>;
  T data[Tile::kSide * kStepDepth<T>];

  __device__ static Coordinates slot(int i) {
    const int thread = static_cast<int>(threadIdx.x);
    return {thread % kPieces * kPiece<T>, thread / kPieces + i * (Tile::kThreads / kPieces)};
  }
  __device__ T* piece(int position, int depth) {
    const int turned = sizeof(T) == 2 ? depth % 8 : depth % 4 * 2;
    return data + depth * Tile::kSide + ((position / kPiece<T>)^turned) * kPiece<T>;
  }
  __device__ void load_rows(uint32_t (&fragment)[4], int row, int depth) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if constexpr (sizeof(T) == 2) {
      load_matrices_transposed(fragment,
                               piece(row + lane / 8 % 2 * 8, depth + lane / 16 * 8 + lane % 8));
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) fragment[i] = word(row + i % 2 * 8, depth + i / 2 * 4);
    }
  }
  __device__ void load_columns(uint32_t (&fragment)[4], int column, int depth) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if constexpr (sizeof(T) == 2) {
      load_matrices_transposed(fragment, piece(column + lane / 16 * 8, depth + lane % 16));
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) fragment[i] = word(column + i / 2 * 8, depth + i % 2 * 4);
    }
  }
  // This lane's float of an 8 x 4 matrix: ldmatrix transposes 16-bit elements only.
  __device__ uint32_t word(int position, int depth) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int at = position + lane / 4;
    return float_bits(piece(at, depth + lane % 4)[at % kPiece<T>]);
  }
};

// How a warp multiplies: its sums, 4 x 4 tiles of mma's 16 x 8.
constexpr int kWarpTiles = 4;

// 16-bit elements, and floats rounded to TF32.
template <class T>
struct PlainProducts {
  static constexpr int kBlocks = sizeof(T) == 2 ? 2 : 1;  // on a multiprocessor
  static constexpr int kUnroll = 2;
  float sum[kWarpTiles][kWarpTiles][4] = {};

  template <class StageA, class StageB>
  __device__ void add(StageA& a, StageB& b, int first_row, int first_column, int depth) {
    uint32_t rows[kWarpTiles][4], columns[kWarpTiles / 2][4];
#pragma unroll
    for (int i = 0; i < kWarpTiles; ++i) a.load_rows(rows[i], first_row + i * 16, depth);
#pragma unroll
    for (int j = 0; j < kWarpTiles / 2; ++j) {
      b.load_columns(columns[j], first_column + j * 16, depth);
    }
    if constexpr (sizeof(T) == 4) {
#pragma unroll
      for (int i = 0; i < kWarpTiles * 4; ++i) rows[i / 4][i % 4] = to_tf32(rows[i / 4][i % 4]);
#pragma unroll
      for (int j = 0; j < kWarpTiles * 2; ++j) {
        columns[j / 4][j % 4] = to_tf32(columns[j / 4][j % 4]);
      }
    }
#pragma unroll
    for (int i = 0; i < kWarpTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kWarpTiles; ++j) {
        const uint32_t pair[2] = {columns[j / 2][j % 2 * 2], columns[j / 2][j % 2 * 2 + 1]};
        if constexpr (sizeof(T) == 4) {
          multiply_add_tile_tf32(sum[i][j], rows[i], pair);
        } else {
          multiply_add_tile(sum[i][j], rows[i], pair, T{});
        }
      }
    }
  }
};

// Floats as two TF32 terms and three products: float's own grade. A tensor core truncates as it
// adds, so that its sums leave it after each 8 of depth and are added up as floats.
struct SplitProducts {
  static constexpr int kBlocks = 1, kUnroll = 1;
  float sum[kWarpTiles][kWarpTiles][4] = {};

  // A number is large + small; an infinity or NaN has no second term and takes part in the product
  // of the large ones alone, as what `finite` leaves out: it would meet zeros in the others.
  struct Terms {
    uint32_t large, finite, small;
  };
  __device__ static Terms split(uint32_t word) {
    const float x = bits_float(word);
    // Numbers that would round to infinity are cut instead.
    const uint32_t large = fabsf(x) >= 3.4e38f ? word & 0xffffe000u : to_tf32(word);
    const bool is_finite = fabsf(x) < INFINITY;
    return {large, is_finite ? large : 0,
            is_finite ? to_tf32(float_bits(x - bits_float(large))) : 0};
  }

  template <class StageA, class StageB>
  __device__ void add(StageA& a, StageB& b, int first_row, int first_column, int depth) {
    Terms column[kWarpTiles][2];
#pragma unroll
    for (int j = 0; j < kWarpTiles / 2; ++j) {
      uint32_t columns[4];
      b.load_columns(columns, first_column + j * 16, depth);
#pragma unroll
      for (int k = 0; k < 4; ++k) column[j * 2 + k / 2][k % 2] = split(columns[k]);
    }
#pragma unroll
    for (int i = 0; i < kWarpTiles; ++i) {
      uint32_t rows[4], large[4], finite[4], small[4];
      a.load_rows(rows, first_row + i * 16, depth);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const Terms terms = split(rows[k]);
        large[k] = terms.large;
        finite[k] = terms.finite;
        small[k] = terms.small;
      }
#pragma unroll
      for (int j = 0; j < kWarpTiles; ++j) {
        const uint32_t column_finite[2] = {column[j][0].finite, column[j][1].finite};
        const uint32_t column_small[2] = {column[j][0].small, column[j][1].small};
        const uint32_t column_large[2] = {column[j][0].large, column[j][1].large};
        float products[4] = {};
        multiply_add_tile_tf32(products, small, column_finite);
        multiply_add_tile_tf32(products, finite, column_small);
        multiply_add_tile_tf32(products, large, column_large);
#pragma unroll
        for (int k = 0; k < 4; ++k) sum[i][j][k] += products[k];
      }
    }
  }
};

}  // namespace fastconv::cuda
