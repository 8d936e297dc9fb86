// A copy of a tensor whose channels lie side by side, each group's filled up with zeros to whole
// pieces of 16 bytes: what tensor cores read. Through shared memory, so that both the reads and the
// writes of a warp lie side by side. One block for each tile.
#pragma once

#include "cuda/conv2d/shape.h"
#include "cuda/element.h"

namespace fastconv::cuda {

constexpr int kCopyThreads = 256;
constexpr int kCopySide = 32;  // pixels and channels of a tile

template <class T>
struct CopyShared {
  T tile[kCopySide][kCopySide + 1];  // [pixel][channel], a column apart in their banks
};

struct ChannelsLastCopy {
  TensorStrides<int32_t> source;
  int32_t rows, columns, pixels;  // of a plane, and of all planes together
  int32_t channels, padded, groups;
};

template <class T>
__global__ void __launch_bounds__(kCopyThreads)
    copy_to_channels_last(ChannelsLastCopy copy, const T* source, T* target) {
  auto& shared = dynamic_shared<CopyShared<T>>();
  const int across = static_cast<int>(threadIdx.x) % kCopySide;
  const int along = static_cast<int>(threadIdx.x) / kCopySide;
  constexpr int kTurns = kCopyThreads / kCopySide;
  const int32_t all_channels = copy.groups * copy.padded;
  const int32_t channel_tiles = (all_channels + kCopySide - 1) / kCopySide;
  const int32_t tile = static_cast<int32_t>(blockIdx.x);
  const int32_t first_pixel = tile / channel_tiles * kCopySide;
  const int32_t first_channel = tile % channel_tiles * kCopySide;
  const bool channels_fastest = copy.source.c == 1;
  for (int turn = along; turn < kCopySide; turn += kTurns) {
    const int pixel_at = channels_fastest ? turn : across;
    const int channel_at = channels_fastest ? across : turn;
    const int32_t pixel = first_pixel + pixel_at, channel = first_channel + channel_at;
    T value{};
    if (pixel < copy.pixels && channel < all_channels && channel % copy.padded < copy.channels) {
      const Digits<int32_t> d = digits(pixel, copy.rows, copy.columns);
      const int32_t own = channel / copy.padded * copy.channels + channel % copy.padded;
      value = source[d.slow * copy.source.n + own * copy.source.c + d.middle * copy.source.h +
                     d.fast * copy.source.w];
    }
    shared.tile[pixel_at][channel_at] = value;
  }
  __syncthreads();  // the tile is there
  for (int turn = along; turn < kCopySide; turn += kTurns) {
    const int32_t pixel = first_pixel + turn, channel = first_channel + across;
    if (pixel < copy.pixels && channel < all_channels) {
      target[pixel * all_channels + channel] = shared.tile[turn][across];
    }
  }
}

}  // namespace fastconv::cuda
