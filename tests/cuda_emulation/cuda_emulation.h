// What a CUDA kernel sees when the host compiler builds it: the execution model of one grid, by
// the same names that nvcc gives it (docs/cuda-emulation.md). csrc/cuda/device.h includes this file
// in place of csrc/cuda/ptx.h; nothing else differs between the two builds.
//
// Grids and blocks have one dimension, a block is a whole number of warps, and shared memory is
// dynamic (dynamic_shared<T>()): `__shared__` is not defined here on purpose.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "cpu/dtype.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

using cudaStream_t = struct CUstream_st*;

namespace cuda_emulation {

struct Index1 {
  unsigned x;
};

struct Thread {
  Index1 thread, block, block_size, grid_size;
};

// The thread that runs now. A call, not a variable: kernels then touch no memory of ours.
const Thread& self();
void* dynamic_shared_memory();

void block_barrier();
void warp_barrier();
uint32_t shuffle(uint32_t value, int source_lane);

// One element that threads may change at once.
float atomic_add(float* address, float value);

void copy_async(void* shared, const void* global, int bytes, bool valid);
void copy_async_commit();
void copy_async_wait(int newest_groups_in_flight);

// Rows of eight 16-bit elements: lane i of each eight lanes gives the address of row i % 8 of
// matrix i / 8.
void load_matrices(uint32_t (&fragment)[4], const void* row, bool transposed);

enum class MmaType { bf16, f16, tf32 };
// sum += a * b over one 16 x 8 tile, 16 deep (8 for tf32); 4 words of a, 2 of b in each lane.
void multiply_add_tile(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                       MmaType type);

// Runs body(context) once in every thread of the grid, block after block.
void run_grid(const char* kernel, unsigned grid, unsigned block, size_t shared_bytes,
              void (*body)(const void* context), const void* context);

}  // namespace cuda_emulation

#define threadIdx (::cuda_emulation::self().thread)
#define blockIdx (::cuda_emulation::self().block)
#define blockDim (::cuda_emulation::self().block_size)
#define gridDim (::cuda_emulation::self().grid_size)

inline void __syncthreads() { cuda_emulation::block_barrier(); }
inline void __syncwarp() { cuda_emulation::warp_barrier(); }
inline float atomicAdd(float* address, float value) {
  return cuda_emulation::atomic_add(address, value);
}

namespace fastconv::cuda {

using cpu::bfloat16;
using cpu::float16;

using cpu::to_bfloat16;
using cpu::to_float;
using cpu::to_float16;

template <class T>
T& dynamic_shared() {
  return *static_cast<T*>(cuda_emulation::dynamic_shared_memory());
}

inline float shuffle_xor(float value, int lane_mask) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  return std::bit_cast<float>(
      cuda_emulation::shuffle(std::bit_cast<uint32_t>(value), lane ^ lane_mask));
}

inline void copy_async_16(void* shared, const void* global, bool valid) {
  cuda_emulation::copy_async(shared, global, 16, valid);
}
inline void copy_async_commit() { cuda_emulation::copy_async_commit(); }
template <int newest_groups_in_flight>
void copy_async_wait() {
  cuda_emulation::copy_async_wait(newest_groups_in_flight);
}

inline void load_matrices(uint32_t (&fragment)[4], const void* row) {
  cuda_emulation::load_matrices(fragment, row, false);
}
inline void load_matrices_transposed(uint32_t (&fragment)[4], const void* row) {
  cuda_emulation::load_matrices(fragment, row, true);
}

inline uint32_t float_bits(float x) { return std::bit_cast<uint32_t>(x); }
inline float bits_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t to_tf32(uint32_t bits) {
  return std::isnan(bits_float(bits)) ? 0x7fffffffu : (bits + 0x1000u) & 0xffffe000u;
}

inline void multiply_add_tile(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                              bfloat16) {
  cuda_emulation::multiply_add_tile(sum, a, b, cuda_emulation::MmaType::bf16);
}
inline void multiply_add_tile(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                              float16) {
  cuda_emulation::multiply_add_tile(sum, a, b, cuda_emulation::MmaType::f16);
}
inline void multiply_add_tile_tf32(float (&sum)[4], const uint32_t (&a)[4],
                                   const uint32_t (&b)[2]) {
  cuda_emulation::multiply_add_tile(sum, a, b, cuda_emulation::MmaType::tf32);
}

template <class... Params, class... Args>
void launch(const char* name, void (*kernel)(Params...), unsigned grid, unsigned block,
            size_t shared_bytes, cudaStream_t, const Args&... args) {
  const auto call = [&] { kernel(args...); };
  cuda_emulation::run_grid(
      name, grid, block, shared_bytes,
      [](const void* context) { (*static_cast<const decltype(call)*>(context))(); }, &call);
}

}  // namespace fastconv::cuda
