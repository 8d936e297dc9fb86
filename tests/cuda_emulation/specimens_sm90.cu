// Small kernels for what only compute capability 9.0 has: a copy of each kind, dumped as it lies in
// shared memory, and the product of a warpgroup. A GPU can confirm by them what tensor maps,
// permuted rows, descriptors and fragments are here taken to be; test_conformance.py says what.
#include <string_view>

#include "cuda/device_sm90.h"
#include "cuda/element.h"

namespace fastconv::cuda {
namespace {

constexpr int kThreads = 128, kRows = 128, kDepth = 64;

struct CopyShared {
  float16 rows[kRows * kDepth];
  AsyncBarrier barrier;
};

__device__ inline void make_barrier(AsyncBarrier& barrier) {
  if (threadIdx.x == 0) {
    barrier_init(barrier, 1);
    fence_async_proxy();
  }
  __syncthreads();
}

struct Start {
  int32_t at[4], offset[2];
};

// dump[i] = element i of shared memory after one copy of 128 rows.
template <bool walks>
__global__ void __launch_bounds__(kHasWarpgroups ? kThreads : 32)
    copy_and_dump(const __grid_constant__ TensorMap map, const __grid_constant__ Start start,
                  float* dump) {
  if constexpr (kHasWarpgroups) {
    auto& shared = dynamic_shared_of_blocks<CopyShared>();
    make_barrier(shared.barrier);
    if (threadIdx.x == 0) {
      barrier_arrive_expecting(shared.barrier, sizeof shared.rows);
      const auto& at = start.at;
      if constexpr (walks) {
        copy_pixels(shared.rows, map, shared.barrier, {at[0], at[1], at[2], at[3]}, start.offset[0],
                    start.offset[1]);
      } else {
        copy_box(shared.rows, map, shared.barrier, {at[0], at[1], at[2], at[3]});
      }
    }
    barrier_wait(shared.barrier, 0);
    for (int i = static_cast<int>(threadIdx.x); i < kRows * kDepth; i += kThreads) {
      dump[i] = Element<float16>::load(shared.rows[i]);
    }
  }
}

template <class T, int columns>
struct ProductShared {
  T a[64 * kDepth], b[columns * kDepth];
  AsyncBarrier barrier;
};

// c [64][columns] = a [64][64] x b [columns][64]^T.
template <class T, int columns>
__global__ void __launch_bounds__(kHasWarpgroups ? kThreads : 32)
    warpgroup_product(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
                      float* c) {
  if constexpr (kHasWarpgroups) {
    auto& shared = dynamic_shared_of_blocks<ProductShared<T, columns>>();
    make_barrier(shared.barrier);
    if (threadIdx.x == 0) {
      barrier_arrive_expecting(shared.barrier, sizeof shared.a + sizeof shared.b);
      copy_box(shared.a, a, shared.barrier, {0, 0, 0, 0});
      copy_box(shared.b, b, shared.barrier, {0, 0, 0, 0});
    }
    barrier_wait(shared.barrier, 0);
    float sum[columns / 2];
    warpgroup_begin(sum);
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
      warpgroup_multiply_add(sum, operand(shared.a) + k * kOperandStep,
                             operand(shared.b) + k * kOperandStep, k > 0, T{});
    }
    warpgroup_commit();
    warpgroup_wait<0>(sum);
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < columns / 2; ++i) {
      const int row = warp * 16 + lane / 4 + i / 2 % 2 * 8;
      c[row * columns + i / 4 * 8 + lane % 4 * 2 + i % 2] = sum[i];
    }
  }
}

template <class T, int columns>
void run_product(DType dtype, const void* a, const void* b, float* c, cudaStream_t stream) {
  const auto matrix = [&](const void* data, int rows) {
    const MappedTensor tensor{dtype,
                              data,
                              {kDepth, 1, 1, static_cast<uint64_t>(rows)},
                              {kDepth * 2, kDepth * 2, kDepth * 2}};
    return map_of_boxes(tensor, static_cast<uint32_t>(rows));
  };
  launch("warpgroup_product", warpgroup_product<T, columns>, 1, kThreads,
         sizeof(ProductShared<T, columns>) + kSwizzleBlock, stream, matrix(a, 64),
         matrix(b, columns), c);
}

// What test_conformance.py knows too: 72 channels, 6 columns, 7 rows, 9 images.
MappedTensor images(const void* data) {
  return {DType::f16, data, {72, 6, 7, 9}, {72 * 2, 6 * 72 * 2, 7 * 6 * 72 * 2}};
}

}  // namespace

// Is there a specimen of this name? Then it has run.
bool run_specimen_sm90(std::string_view kernel, const void* a, const void* b, float* c,
                       cudaStream_t stream) {
  constexpr size_t kCopyBytes = sizeof(CopyShared) + kSwizzleBlock;
  if (kernel == "copied_pixels") {
    // Columns -1, 1, 3, 5 and rows -2 to 6, from the fourth of the seventh image, past the last;
    // the offsets shift them all.
    const PixelWalk walk{{-1, -2}, {0, 0}, {2, 1}};
    launch("copied_pixels", copy_and_dump<true>, 1, kThreads, kCopyBytes, stream,
           map_of_pixels(images(a), walk, kRows), Start{{8, 5, -2, 6}, {1, 2}}, c);
  } else if (kernel == "copied_box") {
    launch("copied_box", copy_and_dump<false>, 1, kThreads, kCopyBytes, stream,
           map_of_boxes(images(a), kRows), Start{{64, 2, 3, 1}, {0, 0}}, c);
  } else if (kernel == "warpgroup_bf16_128") {
    run_product<bfloat16, 128>(DType::bf16, a, b, c, stream);
  } else if (kernel == "warpgroup_bf16_256") {
    run_product<bfloat16, 256>(DType::bf16, a, b, c, stream);
  } else if (kernel == "warpgroup_f16_128") {
    run_product<float16, 128>(DType::f16, a, b, c, stream);
  } else if (kernel == "warpgroup_f16_256") {
    run_product<float16, 256>(DType::f16, a, b, c, stream);
  } else {
    return false;
  }
  return true;
}

}  // namespace fastconv::cuda
