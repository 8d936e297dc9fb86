// What only GPUs of compute capability 9.0 have, by name: barriers in shared memory that count
// bytes, copies by the Tensor Memory Accelerator, products of a whole warpgroup. Like ptx.h, of
// which this is the continuation, it has a twin in tests/cuda_emulation. Nothing here has run on a
// GPU yet.
#pragma once

#include <cuda.h>

#include "cuda/ptx.h"
#include "cuda/shared_operand.cuh"
#include "cuda/tensor_map.h"

namespace fastconv::cuda {

// Is this pass of the compiler for sm_90a, the only one that knows these instructions? Kernels are
// empty elsewhere and allow no launch of more than a warp; see was_compiled_for_warpgroups().
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDA_ARCH__)
constexpr bool kHasWarpgroups = true;
#else
constexpr bool kHasWarpgroups = false;
#endif

// Of a kernel with __launch_bounds__(kHasWarpgroups ? threads : 32).
template <class... Params>
bool was_compiled_for_warpgroups(void (*kernel)(Params...), int threads) {
  cudaFuncAttributes attributes;
  if (cudaFuncGetAttributes(&attributes, kernel) != cudaSuccess) {
    cudaGetLastError();  // no GPU, or no code for it: an answer, not an error
    return false;
  }
  return attributes.maxThreadsPerBlock >= threads;
}

// ---- Tensor maps, made on the host --------------------------------------------------------------

using TensorMap = CUtensorMap;

// A function of the driver, without linking to it.
template <class Function>
Function driver_function(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
#if CUDART_VERSION >= 12050
  check(cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result), name);
#else
  check(cudaGetDriverEntryPoint(name, &found, cudaEnableDefault, &result), name);
#endif
  if (result != cudaDriverEntryPointSuccess || found == nullptr) {
    throw std::runtime_error(std::string("fastconv: this driver has no ") + name);
  }
  return reinterpret_cast<Function>(found);
}

inline void check_map(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  throw std::runtime_error(std::string("fastconv: ") + what + " refuses, error " +
                           std::to_string(static_cast<int>(result)));
}

inline CUtensorMapDataType map_type(DType dtype) {
  return dtype == DType::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
}

// For copies of boxes: 128 bytes of the innermost dimension, of so many of the outermost.
inline TensorMap map_of_boxes(const MappedTensor& tensor, uint32_t outermost) {
  static const auto encode =
      driver_function<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  const uint32_t box[4] = {kSwizzledRow, 1, 1, outermost}, steps[4] = {1, 1, 1, 1};
  TensorMap map;
  check_map(encode(&map, map_type(tensor.dtype), 4, const_cast<void*>(tensor.data), tensor.extent,
                   tensor.stride_bytes, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                   CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                   CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
            "cuTensorMapEncodeTiled");
  return map;
}

// For copies of so many pixels of a walk, 128 bytes of channels of each.
inline TensorMap map_of_pixels(const MappedTensor& images, const PixelWalk& walk, uint32_t pixels) {
  static const auto encode =
      driver_function<decltype(&cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
  const uint32_t steps[4] = {1, walk.step[0], walk.step[1], 1};
  TensorMap map;
  check_map(encode(&map, map_type(images.dtype), 4, const_cast<void*>(images.data), images.extent,
                   images.stride_bytes, walk.lower, walk.upper, kSwizzledRow, pixels, steps,
                   CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                   CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
            "cuTensorMapEncodeIm2col");
  return map;
}

// ---- Shared memory and its barriers -------------------------------------------------------------

// A launch asks for kSwizzleBlock bytes more than the object takes.
template <class T>
__device__ T& dynamic_shared_of_blocks() {
  auto& bytes = dynamic_shared<unsigned char>();
  const uint32_t past = shared_address(&bytes) % static_cast<uint32_t>(kSwizzleBlock);
  return *reinterpret_cast<T*>(&bytes + (kSwizzleBlock - past) % kSwizzleBlock);
}

// An mbarrier: a phase ends when so many have arrived and all expected bytes are there.
struct AsyncBarrier {
  uint64_t bits;
};

__device__ inline void barrier_init(AsyncBarrier& barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)),
               "r"(arrivals)
               : "memory");
}
// Shows what this thread has written to shared memory, barriers included, to asynchronous copies
// and products.
__device__ inline void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ inline void barrier_arrive(AsyncBarrier& barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier))
               : "memory");
}
// Arrives, and asks for so many bytes more before this phase ends.
__device__ inline void barrier_arrive_expecting(AsyncBarrier& barrier, int bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)),
      "r"(bytes)
      : "memory");
}
// Waits for the end of the phase of this parity: 0 for the first, third, fifth; of a new barrier
// the phase of parity 1 has ended.
__device__ inline void barrier_wait(AsyncBarrier& barrier, uint32_t parity) {
  uint32_t done;
  do {
    asm volatile(
        "{\n"
        ".reg .pred ended;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 ended, [%1], %2;\n"
        "selp.u32 %0, 1, 0, ended;\n"
        "}\n"
        : "=r"(done)
        : "r"(shared_address(&barrier)), "r"(parity)
        : "memory");
  } while (done == 0);
}

// One thread copies for its block; the bytes count towards `barrier`. The map is a
// __grid_constant__ parameter of the kernel. Coordinates are those of the first element, innermost
// dimension first.
__device__ inline void copy_box(void* shared, const TensorMap& map, AsyncBarrier& barrier,
                                const int32_t (&at)[4]) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(shared_address(shared)),
      "l"(&map), "r"(shared_address(&barrier)), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
      : "memory");
}
// The walk starts at pixel `at` (channel, column, row, image) and every pixel is read so many
// columns and rows further on.
__device__ inline void copy_pixels(void* shared, const TensorMap& map, AsyncBarrier& barrier,
                                   const int32_t (&at)[4], int32_t columns, int32_t rows) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};" ::"r"(shared_address(shared)),
      "l"(&map), "r"(shared_address(&barrier)), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]),
      "h"(static_cast<uint16_t>(columns)), "h"(static_cast<uint16_t>(rows))
      : "memory");
}

// ---- Products of a warpgroup --------------------------------------------------------------------

// The registers of each thread of a warpgroup from here on, a multiple of 8; all its warps say so.
template <int registers>
__device__ void warpgroup_give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ void warpgroup_take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}

// The descriptor of an operand that starts here.
__device__ inline uint64_t operand(const void* shared) {
  return operand_at(shared_address(shared));
}

// From here the sums belong to the products; no other instruction may touch them before the wait.
template <int count>
__device__ void warpgroup_begin(float (&sum)[count]) {
#pragma unroll
  for (int i = 0; i < count; ++i) asm volatile("" : "+f"(sum[i])::"memory");
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void warpgroup_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// With 0 the sums are there.
template <int newest_groups_in_flight, int count>
__device__ void warpgroup_wait(float (&sum)[count]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(newest_groups_in_flight) : "memory");
#pragma unroll
  for (int i = 0; i < count; ++i) asm volatile("" : "+f"(sum[i])::"memory");
}

#define FASTCONV_REGISTERS_64                                                   \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, " \
  "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, " \
  "%47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, " \
  "%62, %63"
#define FASTCONV_REGISTERS_128                                                     \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, "    \
  "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "    \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, "    \
  "%47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "    \
  "%62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, "    \
  "%77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, "    \
  "%92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, "   \
  "%106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, " \
  "%119, %120, %121, %122, %123, %124, %125, %126, %127"
#define FASTCONV_SUMS_8(i)                                                              \
  "+f"(sum[i]), "+f"(sum[i + 1]), "+f"(sum[i + 2]), "+f"(sum[i + 3]), "+f"(sum[i + 4]), \
      "+f"(sum[i + 5]), "+f"(sum[i + 6]), "+f"(sum[i + 7])
#define FASTCONV_SUMS_32(i) \
  FASTCONV_SUMS_8(i), FASTCONV_SUMS_8(i + 8), FASTCONV_SUMS_8(i + 16), FASTCONV_SUMS_8(i + 24)
#define FASTCONV_SUMS_64 FASTCONV_SUMS_32(0), FASTCONV_SUMS_32(32)
#define FASTCONV_SUMS_128 FASTCONV_SUMS_64, FASTCONV_SUMS_32(64), FASTCONV_SUMS_32(96)

// sum += a * b, or sum = a * b: a is 64 x 16 by rows, b 16 x columns by columns. Warp i of the
// warpgroup has rows 16 i to 16 i + 15, lanes as in multiply_add_tile, 8 columns after another.
#define FASTCONV_WARPGROUP_PRODUCT(count, columns, type, a_is, b_is, accumulate_is, Type)    \
  __device__ inline void warpgroup_multiply_add(float (&sum)[count], uint64_t a, uint64_t b, \
                                                bool accumulate, Type) {                     \
    asm volatile("{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, " accumulate_is         \
                 ", 0;\nwgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type  \
                 " {" FASTCONV_REGISTERS_##count "}, " a_is ", " b_is                        \
                                                 ", accumulate, 1, 1, 0, 0;\n}\n"            \
                 : FASTCONV_SUMS_##count                                                     \
                 : "l"(a), "l"(b), "r"(static_cast<int>(accumulate))                         \
                 : "memory");                                                                \
  }
FASTCONV_WARPGROUP_PRODUCT(64, "128", "bf16", "%64", "%65", "%66", bfloat16)
FASTCONV_WARPGROUP_PRODUCT(64, "128", "f16", "%64", "%65", "%66", float16)
FASTCONV_WARPGROUP_PRODUCT(128, "256", "bf16", "%128", "%129", "%130", bfloat16)
FASTCONV_WARPGROUP_PRODUCT(128, "256", "f16", "%128", "%129", "%130", float16)
#undef FASTCONV_WARPGROUP_PRODUCT
#undef FASTCONV_SUMS_128
#undef FASTCONV_SUMS_64
#undef FASTCONV_SUMS_32
#undef FASTCONV_SUMS_8
#undef FASTCONV_REGISTERS_128
#undef FASTCONV_REGISTERS_64

}  // namespace fastconv::cuda
