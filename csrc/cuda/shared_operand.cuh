// How operands lie in shared memory between a copy by the Tensor Memory Accelerator and wgmma: rows
// of 128 bytes (64 elements of depth), each with its 16-byte pieces permuted by its place among
// eight, as CU_TENSOR_MAP_SWIZZLE_128B has it. Part of device_sm90.h, on the GPU and in emulation.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/device.h"

namespace fastconv::cuda {

// Rows are told apart by their address: operands start at a multiple of this.
constexpr size_t kSwizzleBlock = 1024;

// wgmma's descriptor of rows by depth that start at this address: the address, the distance from
// eight rows to the next eight, the permutation. All in units of 16 bytes, so that adding
// kOperandStep goes 16 elements deeper.
__host__ __device__ constexpr uint64_t operand_at(uint32_t address) {
  constexpr uint64_t kNotRead = 1;  // the distance between pieces, of rows that are not permuted
  constexpr uint64_t kEightRows = kSwizzleBlock / 16, kPermuted128 = 1;
  return (address & 0x3ffffu) / 16 | kNotRead << 16 | kEightRows << 32 | kPermuted128 << 62;
}
constexpr uint64_t kOperandStep = 2;

}  // namespace fastconv::cuda
