// What the Tensor Memory Accelerator is told of a tensor: the host's description, of which
// device_sm90.h makes the tensor map that a kernel is given.
#pragma once

#include <cstdint>

#include "problem.h"

namespace fastconv::cuda {

// A 4-D tensor of 16-bit elements, the innermost dimension first and its elements side by side.
// Every stride is a multiple of 16 bytes.
struct MappedTensor {
  DType dtype;
  const void* data;
  uint64_t extent[4];
  uint64_t stride_bytes[3];  // of the outer three dimensions
};

// Which pixels of channels_last images (extents: channels, columns, rows, images) a copy in im2col
// mode walks over: from the lower corner, counted from the first pixel, to the upper one, counted
// from the last pixel, in steps; column after column, row after row, image after image. {w, h}.
struct PixelWalk {
  int lower[2], upper[2];
  uint32_t step[2];
};

// A copy brings 128 bytes of the innermost dimension: a row of shared memory, in which the pieces
// of 16 bytes are permuted by the row's address (kSwizzledRow). What lies outside the tensor is
// zero.
constexpr uint32_t kSwizzledRow = 64;  // elements

// The limits of a tensor map.
constexpr int64_t kMostPixelStep = 8, kLeastCorner = -128, kMostCorner = 127,
                  kMostPixelOffset = 255;

}  // namespace fastconv::cuda
