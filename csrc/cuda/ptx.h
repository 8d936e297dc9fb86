// CUDA as the kernels see it: 16-bit floats, shared memory, launches, and every PTX instruction
// that they use. No kernel holds assembly of its own; tests/cuda_emulation has a twin of each name.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace fastconv::cuda {

struct bfloat16 {
  uint16_t bits;
};

struct float16 {
  uint16_t bits;
};

__device__ inline float to_float(bfloat16 x) {
  return __bfloat162float(__ushort_as_bfloat16(x.bits));
}
__device__ inline float to_float(float16 x) { return __half2float(__ushort_as_half(x.bits)); }
__device__ inline bfloat16 to_bfloat16(float x) {
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
}
__device__ inline float16 to_float16(float x) { return {__half_as_ushort(__float2half_rn(x))}; }

template <class T>
__device__ T& dynamic_shared() {
  extern __shared__ __align__(16) unsigned char fastconv_dynamic_shared[];
  return *reinterpret_cast<T*>(fastconv_dynamic_shared);
}

__device__ inline float shuffle_xor(float value, int lane_mask) {
  return __shfl_xor_sync(0xffffffffu, value, lane_mask);
}

__device__ inline uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// 16 bytes from global to shared memory, past the L1 cache; zeros where `valid` is false, and then
// `global` is not read.
__device__ inline void copy_async_16(void* shared, const void* global, bool valid) {
  const int source_bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(source_bytes)
               : "memory");
}
__device__ inline void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int newest_groups_in_flight>
__device__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(newest_groups_in_flight) : "memory");
}

// Four 8 x 8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
__device__ inline void load_matrices(uint32_t (&fragment)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void load_matrices_transposed(uint32_t (&fragment)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(shared_address(row))
               : "memory");
}

__device__ inline uint32_t float_bits(float x) { return __float_as_uint(x); }
__device__ inline float bits_float(uint32_t bits) { return __uint_as_float(bits); }

// The float of these bits with the 11 significant bits of TF32, rounded to nearest, ties away from
// zero.
__device__ inline uint32_t to_tf32(uint32_t bits) {
  uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(bits_float(bits)));
  return rounded;
}

// sum += a * b: a is 16 x 16 by rows, b 16 x 8 by columns, sum 16 x 8 in float.
__device__ inline void multiply_add_tile(float (&sum)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2], bfloat16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void multiply_add_tile(float (&sum)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2], float16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// The same with TF32 inputs, 8 deep: a 16 x 8, b 8 x 8, each word a float.
__device__ inline void multiply_add_tile_tf32(float (&sum)[4], const uint32_t (&a)[4],
                                              const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("fastconv: ") + what + ": " + cudaGetErrorString(error));
}

template <class... Params, class... Args>
void launch(const char* name, void (*kernel)(Params...), unsigned grid, unsigned block,
            size_t shared_bytes, cudaStream_t stream, const Args&... args) {
  constexpr size_t kAlwaysAllowed = size_t{48} << 10;
  if (shared_bytes > kAlwaysAllowed) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared_bytes)),
          name);
  }
  kernel<<<grid, block, shared_bytes, stream>>>(args...);
  check(cudaGetLastError(), name);
}

}  // namespace fastconv::cuda
