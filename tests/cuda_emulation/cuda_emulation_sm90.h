// The twin of csrc/cuda/ptx_sm90.h: what only GPUs of compute capability 9.0 have, emulated.
#pragma once

#include "cuda/shared_operand.cuh"
#include "cuda/tensor_map.h"
#include "cuda_emulation.h"

#define __grid_constant__

namespace cuda_emulation {

// What the driver would encode.
struct TensorMap {
  fastconv::cuda::MappedTensor tensor;
  fastconv::cuda::PixelWalk walk;
  uint32_t rows;  // of 128 bytes, in shared memory
  bool walks;     // over pixels, or else along the outermost dimension
};
TensorMap make_map(const fastconv::cuda::MappedTensor& tensor,
                   const fastconv::cuda::PixelWalk* walk, uint32_t rows);

// Where shared memory lies in its window, in which addresses are permuted: not at a multiple of
// what kernels align it to.
constexpr uint32_t kWindowStart = 1024 + 16;
uint32_t shared_address(const void* shared);

void barrier_init(void* barrier, int arrivals);
void fence_async_proxy();
void barrier_arrive(void* barrier, int expected_bytes);
void barrier_wait(void* barrier, uint32_t parity);
void copy_rows(void* shared, const TensorMap& map, void* barrier, const int32_t (&at)[4],
               const int32_t (&offset)[2]);

void set_registers(int registers);
void warpgroup_begin();
void warpgroup_commit();
void warpgroup_wait(int newest_groups_in_flight);
void warpgroup_multiply_add(float* sum, int count, uint64_t a, uint64_t b, bool accumulate,
                            MmaType type);

}  // namespace cuda_emulation

namespace fastconv::cuda {

constexpr bool kHasWarpgroups = true;
template <class... Params>
bool was_compiled_for_warpgroups(void (*)(Params...), int) {
  return true;
}

using cuda_emulation::TensorMap;

inline TensorMap map_of_boxes(const MappedTensor& tensor, uint32_t outermost) {
  return cuda_emulation::make_map(tensor, nullptr, outermost);
}
inline TensorMap map_of_pixels(const MappedTensor& images, const PixelWalk& walk, uint32_t pixels) {
  return cuda_emulation::make_map(images, &walk, pixels);
}

template <class T>
T& dynamic_shared_of_blocks() {
  auto& bytes = dynamic_shared<unsigned char>();
  const uint32_t past =
      cuda_emulation::shared_address(&bytes) % static_cast<uint32_t>(kSwizzleBlock);
  return *reinterpret_cast<T*>(&bytes + (kSwizzleBlock - past) % kSwizzleBlock);
}

struct AsyncBarrier {
  uint64_t bits;
};

inline void barrier_init(AsyncBarrier& barrier, int arrivals) {
  cuda_emulation::barrier_init(&barrier, arrivals);
}
inline void fence_async_proxy() { cuda_emulation::fence_async_proxy(); }
inline void barrier_arrive(AsyncBarrier& barrier) { cuda_emulation::barrier_arrive(&barrier, 0); }
inline void barrier_arrive_expecting(AsyncBarrier& barrier, int bytes) {
  cuda_emulation::barrier_arrive(&barrier, bytes);
}
inline void barrier_wait(AsyncBarrier& barrier, uint32_t parity) {
  cuda_emulation::barrier_wait(&barrier, parity);
}
inline void copy_box(void* shared, const TensorMap& map, AsyncBarrier& barrier,
                     const int32_t (&at)[4]) {
  cuda_emulation::copy_rows(shared, map, &barrier, at, {0, 0});
}
inline void copy_pixels(void* shared, const TensorMap& map, AsyncBarrier& barrier,
                        const int32_t (&at)[4], int32_t columns, int32_t rows) {
  cuda_emulation::copy_rows(shared, map, &barrier, at, {columns, rows});
}

template <int registers>
void warpgroup_give_registers() {
  cuda_emulation::set_registers(registers);
}
template <int registers>
void warpgroup_take_registers() {
  cuda_emulation::set_registers(registers);
}

inline uint64_t operand(const void* shared) {
  return operand_at(cuda_emulation::shared_address(shared));
}

template <int count>
void warpgroup_begin(float (&)[count]) {
  cuda_emulation::warpgroup_begin();
}
inline void warpgroup_commit() { cuda_emulation::warpgroup_commit(); }
template <int newest_groups_in_flight, int count>
void warpgroup_wait(float (&)[count]) {
  cuda_emulation::warpgroup_wait(newest_groups_in_flight);
}
template <int count>
void warpgroup_multiply_add(float (&sum)[count], uint64_t a, uint64_t b, bool accumulate,
                            bfloat16) {
  cuda_emulation::warpgroup_multiply_add(sum, count, a, b, accumulate,
                                         cuda_emulation::MmaType::bf16);
}
template <int count>
void warpgroup_multiply_add(float (&sum)[count], uint64_t a, uint64_t b, bool accumulate, float16) {
  cuda_emulation::warpgroup_multiply_add(sum, count, a, b, accumulate,
                                         cuda_emulation::MmaType::f16);
}

}  // namespace fastconv::cuda
