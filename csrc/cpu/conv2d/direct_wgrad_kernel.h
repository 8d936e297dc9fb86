// One tile of a weight gradient, summed over a box of pixels. To be included under an instruction
// set's pragma.
//
//   c[i][j] = (accumulate ? c[i][j] : 0) + sum over pixels of a[pixel][i] * b[pixel][j]
//
// in one chain of multiply-adds for every element, pixels in ascending order: how the weight is cut
// into tiles changes no bit.
#pragma once

#include "cpu/conv2d/direct_wgrad_ahead.h"
#include "cpu/conv2d/direct_wgrad_plan.h"
#include "cpu/gemm/blocking.h"
#include "cpu/gemm/micro_kernel.h"

namespace fastconv::cpu {

// How the operands of a tile lie, in elements.
struct PixelWalk {
  int64_t images, rows, columns;
  int64_t a_image, a_row, a_column;
  int64_t b_image, b_row, b_column;
  // From a row of the tile to the next, where these lie in planes; their pixels are neighbours.
  int64_t a_plane;
  // What is fetched meanwhile.
  LinesAhead::Steps ahead;
};

// kInPlanes: the rows of the tile are planes of an image and not the channels of one pixel.
template <class Target, int kRows, int kVectors, bool kInPlanes>
void wgrad_tile(const PixelWalk& walk, const float* a, const float* b, float* c, int64_t c_stride,
                bool accumulate) {
  using Vector = typename Target::template Vector<float>;
  using Type = typename Vector::Type;
  constexpr int kLanes = Vector::kLanes;
  Type sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = Vector::zero();
      __builtin_prefetch(c + i * c_stride + v * kLanes, 1);
    }
  }
  const void* const* const lines = walk.ahead.entries;
  const int64_t pace = walk.ahead.pace;
  uint64_t line = walk.ahead.from;
  const auto multiply = [&](const float* b_pixel, const auto& a_row)
                            __attribute__((always_inline)) {
                              Type b_p[kVectors];
                              __builtin_prefetch(lines[line / LinesAhead::kWhole], 0, 2);
                              line += pace;
#pragma GCC unroll 4
                              for (int v = 0; v < kVectors; ++v)
                                b_p[v] = Vector::load_unaligned(b_pixel + v * kLanes);
#pragma GCC unroll 16
                              for (int i = 0; i < kRows; ++i) {
                                const Type a_ip = Vector::broadcast(a_row(i));
#pragma GCC unroll 4
                                for (int v = 0; v < kVectors; ++v)
                                  sum[i][v] = Vector::multiply_add(a_ip, b_p[v], sum[i][v]);
                              }
                            };
  for (int64_t image = 0; image < walk.images; ++image) {
    for (int64_t row = 0; row < walk.rows; ++row) {
      const float* a_at = a + image * walk.a_image + row * walk.a_row;
      const float* b_at = b + image * walk.b_image + row * walk.b_row;
      if constexpr (kInPlanes) {
        RowPointers<Target, float, kRows> planes(a_at, walk.a_plane);
        for (int64_t q = walk.columns; q > 0; --q, b_at += walk.b_column, planes.advance()) {
          multiply(b_at, [&](int i) __attribute__((always_inline)) { return planes.row(i); });
        }
      } else {
        for (int64_t q = walk.columns; q > 0; --q, a_at += walk.a_column, b_at += walk.b_column) {
          multiply(b_at, [&](int i) __attribute__((always_inline)) { return a_at + i; });
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* const at = c + i * c_stride + v * kLanes;
      if (accumulate) sum[i][v] = Vector::add(Vector::load_unaligned(at), sum[i][v]);
      Vector::store_unaligned(at, sum[i][v]);
    }
  }
}

using WgradTile = void (*)(const PixelWalk& walk, const float* a, const float* b, float* c,
                           int64_t c_stride, bool accumulate);

// kWgradTiles<Target>.at[in planes][rows - 1][vectors - 1], null where wgrad_tile_rows are fewer.
template <class Target>
struct WgradTileTable {
  using Shape = GemmShape<Target::kIsa, float>;
  static constexpr int kMostVectors = wgrad_tile_vectors(Target::kIsa);
  using OfVectors = WgradTile[kMostVectors];
  OfVectors at[2][Shape::kTileRows] = {};

  constexpr WgradTileTable() { fill_vectors<kMostVectors>(); }

 private:
  template <int kVectors>
  constexpr void fill_vectors() {
    fill_rows<wgrad_tile_rows(Target::kIsa, kVectors), kVectors>();
    if constexpr (kVectors > 1) fill_vectors<kVectors - 1>();
  }
  template <int kRows, int kVectors>
  constexpr void fill_rows() {
    at[0][kRows - 1][kVectors - 1] = wgrad_tile<Target, kRows, kVectors, false>;
    at[1][kRows - 1][kVectors - 1] = wgrad_tile<Target, kRows, kVectors, true>;
    if constexpr (kRows > 1) fill_rows<kRows - 1, kVectors>();
  }
};

template <class Target>
constexpr WgradTileTable<Target> kWgradTiles;

}  // namespace fastconv::cpu
