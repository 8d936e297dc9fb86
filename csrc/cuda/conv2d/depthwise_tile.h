// How a depthwise convolution (one input channel in a group) is cut into tiles that fit shared
// memory with what lies around them.
#pragma once

#include <cstdint>

#include "cuda/conv2d/fast_divide.h"
#include "cuda/conv2d/shape.h"
#include "cuda/launch_size.h"

namespace fastconv::cuda {

constexpr int kDepthwiseThreads = 256;
// On a multiprocessor, which grants 64 registers a thread: left to itself ptxas aims for fewer and
// spills some around each division.
constexpr int kDepthwiseBlocks = 4;
constexpr int64_t kDepthwiseShared = int64_t{48} << 10;  // what every launch may have

// A box of channels and pixels, numbered so that neighbours in memory are neighbours.
struct Box {
  int32_t channels, rows, columns;
  bool channels_fastest;
  FastDivide by_channels, by_rows, by_columns;

  Box(int64_t channels, int64_t rows, int64_t columns, bool channels_fastest)
      : channels(static_cast<int32_t>(channels)),
        rows(static_cast<int32_t>(rows)),
        columns(static_cast<int32_t>(columns)),
        channels_fastest(channels_fastest),
        by_channels(this->channels),
        by_rows(this->rows),
        by_columns(this->columns) {}

  __host__ __device__ int32_t size() const { return channels * rows * columns; }

  struct Element {
    int32_t channel, row, column;
  };
  __device__ Element element(int32_t number) const {
    if (channels_fastest) {
      const int32_t pixel = by_channels(number), row = by_columns(pixel);
      return {number - pixel * channels, row, pixel - row * columns};
    }
    const int32_t line = by_columns(number), channel = by_rows(line);
    return {channel, line - channel * rows, number - line * columns};
  }
  __device__ int32_t index(int32_t channel, int32_t row, int32_t column) const {
    return channels_fastest ? (row * columns + column) * channels + channel
                            : (channel * rows + row) * columns + column;
  }
};

// Tiles of a tensor: `box` is one, the others lie beside it.
struct Tiles {
  int32_t channel_tiles, row_tiles, column_tiles;

  Tiles(const Box& box, int64_t channels, int64_t rows, int64_t columns)
      : channel_tiles(static_cast<int32_t>(ceil_divide(channels, box.channels))),
        row_tiles(static_cast<int32_t>(ceil_divide(rows, box.rows))),
        column_tiles(static_cast<int32_t>(ceil_divide(columns, box.columns))) {}

  int64_t planes() const { return static_cast<int64_t>(row_tiles) * column_tiles; }
};

inline bool is_depthwise(const Conv2dProblem& p) {
  return p.groups > 1 && p.group_in_channels() == 1 && p.group_out_channels() > 0;
}

}  // namespace fastconv::cuda
