// Small kernels that use every part of csrc/cuda/device.h, each right as it stands and wrong in a
// known way for each Fault: what the emulator must let pass and what it must catch. They compile
// under nvcc too, so that a GPU can confirm the fragment layouts.
#include <cstdint>
#include <stdexcept>
#include <string_view>

#include "cuda/device.h"

namespace fastconv::cuda {

// specimens_sm90.cu
bool run_specimen_sm90(std::string_view kernel, const void* a, const void* b, float* c,
                       cudaStream_t stream);

namespace {

enum class Fault {
  none,
  no_wait,
  no_barrier_before_use,
  stage_overwritten,
  swapped_fragment,
  wrong_matrix_row,
  no_warp_barrier,
  lost_update,
  read_past_shared,
  write_past_global,
  blocks_share_an_element,
  barrier_skipped,
  uninitialised,
  divergent,
};

// ---- A 32 x 16 product, as a tensor-core kernel does it -----------------------------------------

constexpr int kRows = 32, kColumns = 16, kDepth = 16;

template <class T>
struct ProductShared {
  T a[2][kRows][kDepth], b[2][kColumns][kDepth];
};

// One thread copies 16 bytes: 8 elements of a row of a or of b.
template <class T>
__device__ void copy_stage(ProductShared<T>& shared, int stage, const T* a, const T* b, int depth,
                           int first) {
  constexpr int kPieces = kDepth / 8;
  for (int i = static_cast<int>(threadIdx.x); i < (kRows + kColumns) * kPieces;
       i += static_cast<int>(blockDim.x)) {
    const int row = i / kPieces, k = i % kPieces * 8;
    if (row < kRows) {
      copy_async_16(&shared.a[stage][row][k], a + row * depth + first + k, true);
    } else {
      copy_async_16(&shared.b[stage][row - kRows][k], b + (row - kRows) * depth + first + k, true);
    }
  }
  copy_async_commit();
}

// c [32][16] = a [32][depth] x b [16][depth]^T, two warps of 16 rows each. b_by_depth: b is stored
// [16][16] by depth instead, and `depth` is 16.
template <class T, Fault fault>
__global__ void product(const T* a, const T* b, float* c, int depth, bool b_by_depth) {
  auto& shared = dynamic_shared<ProductShared<T>>();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  float sum[2][4] = {};
  copy_stage(shared, 0, a, b, depth, 0);
  for (int step = 0; step * kDepth < depth; ++step) {
    const int stage = step % 2;
    if constexpr (fault != Fault::no_wait) copy_async_wait<0>();
    const bool more = (step + 1) * kDepth < depth;
    if constexpr (fault == Fault::stage_overwritten) {
      if (more) copy_stage(shared, 1 - stage, a, b, depth, (step + 1) * kDepth);
    }
    if constexpr (fault != Fault::no_barrier_before_use) __syncthreads();
    if constexpr (fault != Fault::stage_overwritten) {
      if (more) copy_stage(shared, 1 - stage, a, b, depth, (step + 1) * kDepth);
    }
    uint32_t fragment_a[4], fragment_b[4];
    const int row = lane % 16 + (fault == Fault::wrong_matrix_row ? 1 : 0);
    load_matrices(fragment_a, &shared.a[stage][warp * 16 + row % kRows][lane / 16 * 8]);
    if (b_by_depth) {
      load_matrices_transposed(fragment_b, &shared.b[stage][lane % 16][lane / 16 * 8]);
    } else {
      load_matrices(fragment_b, &shared.b[stage][lane / 16 * 8 + lane % 8][lane / 8 % 2 * 8]);
    }
    for (int half = 0; half < 2; ++half) {
      const int first = fault == Fault::swapped_fragment ? 1 : 0;
      const uint32_t b_pair[2] = {fragment_b[2 * half + first], fragment_b[2 * half + 1 - first]};
      multiply_add_tile(sum[half], fragment_a, b_pair, T{});
    }
  }
  copy_async_wait<0>();
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < 4; ++i) {
      const int row = warp * 16 + lane / 4 + i / 2 * 8, column = half * 8 + lane % 4 * 2 + i % 2;
      c[row * kColumns + column] = sum[half][i];
    }
  }
}

// c [16][8] = a [16][8] x b [8][8]^T in TF32, one warp.
__global__ void product_tf32(const float* a, const float* b, float* c) {
  const int lane = static_cast<int>(threadIdx.x), group = lane / 4, pair = lane % 4;
  const auto word = [](const float& x) { return reinterpret_cast<const uint32_t&>(x); };
  const uint32_t fragment_a[4] = {word(a[group * 8 + pair]), word(a[(group + 8) * 8 + pair]),
                                  word(a[group * 8 + pair + 4]),
                                  word(a[(group + 8) * 8 + pair + 4])};
  const uint32_t fragment_b[2] = {word(b[group * 8 + pair]), word(b[group * 8 + pair + 4])};
  float sum[4] = {};
  multiply_add_tile_tf32(sum, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) c[(group + i / 2 * 8) * 8 + pair * 2 + i % 2] = sum[i];
}

// ---- Sums ---------------------------------------------------------------------------------------

// sums[block] = the sum of 64 values, by shuffles within a warp and through shared memory between
// the two.
template <Fault fault>
__global__ void sum_of_block(const float* values, float* sums) {
  auto& shared = dynamic_shared<float[2]>();
  const int thread = static_cast<int>(threadIdx.x);
  if constexpr (fault == Fault::divergent) {
    if (thread % 2 == 0) __syncwarp();
  }
  float sum = values[static_cast<int>(blockIdx.x) * 64 + thread];
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += shuffle_xor(sum, lanes);
  if (thread % 32 == 0) shared[thread / 32] = sum;
  if constexpr (fault == Fault::barrier_skipped) {
    if (thread < 32) __syncthreads();
  } else if constexpr (fault != Fault::no_barrier_before_use) {
    __syncthreads();
  }
  const int block = fault == Fault::blocks_share_an_element ? 0 : static_cast<int>(blockIdx.x);
  if (thread == 0) sums[block] = shared[0] + shared[1];
}

// sums[0] = the sum of 64 values, each thread adding to one element of shared memory.
template <Fault fault>
__global__ void sum_by_atomics(const float* values, float* sums) {
  auto& shared = dynamic_shared<float[1]>();
  const int thread = static_cast<int>(threadIdx.x);
  if constexpr (fault != Fault::uninitialised) {
    if (thread == 0) shared[0] = 0;
  }
  __syncthreads();
  if constexpr (fault == Fault::lost_update) {
    shared[0] += values[thread];
  } else {
    atomicAdd(&shared[0], values[thread]);
  }
  __syncthreads();
  if (thread == 0) sums[0] = shared[0];
}

// ---- Permutations -------------------------------------------------------------------------------

// reversed[i] = values[63 - i].
template <Fault fault>
__global__ void reverse(const float* values, float* reversed) {
  auto& shared = dynamic_shared<float[64]>();
  const int thread = static_cast<int>(threadIdx.x);
  shared[thread] = values[thread];
  __syncthreads();
  const int past = fault == Fault::read_past_shared ? 1 : 0;
  const float value = shared[63 - thread + past];
  reversed[thread + (fault == Fault::write_past_global ? 1 : 0)] = value;
}

// Each lane takes its neighbour's value through shared memory of the warp.
template <Fault fault>
__global__ void rotate_in_warp(const float* values, float* rotated) {
  auto& shared = dynamic_shared<float[64]>();
  const int thread = static_cast<int>(threadIdx.x);
  shared[thread] = values[thread];
  if constexpr (fault != Fault::no_warp_barrier) __syncwarp();
  rotated[thread] = shared[thread / 32 * 32 + (thread + 1) % 32];
}

// ---- By name ------------------------------------------------------------------------------------

struct Buffers {
  const void *a, *b;
  float* c;
  int depth;
  bool b_by_depth;
};

template <class T, Fault fault>
void run_product(const Buffers& buffers, cudaStream_t stream) {
  launch("product", product<T, fault>, 1, 64, sizeof(ProductShared<T>), stream,
         static_cast<const T*>(buffers.a), static_cast<const T*>(buffers.b), buffers.c,
         buffers.depth, buffers.b_by_depth);
}

template <Fault fault>
void run_sum_of_block(const Buffers& buffers, cudaStream_t stream) {
  launch("sum_of_block", sum_of_block<fault>, 3, 64, 2 * sizeof(float), stream,
         static_cast<const float*>(buffers.a), buffers.c);
}

template <Fault fault>
void run_sum_by_atomics(const Buffers& buffers, cudaStream_t stream) {
  launch("sum_by_atomics", sum_by_atomics<fault>, 1, 64, sizeof(float), stream,
         static_cast<const float*>(buffers.a), buffers.c);
}

template <Fault fault>
void run_reverse(const Buffers& buffers, cudaStream_t stream) {
  launch("reverse", reverse<fault>, 1, 64, 64 * sizeof(float), stream,
         static_cast<const float*>(buffers.a), buffers.c);
}

template <Fault fault>
void run_rotate(const Buffers& buffers, cudaStream_t stream) {
  launch("rotate_in_warp", rotate_in_warp<fault>, 1, 64, 64 * sizeof(float), stream,
         static_cast<const float*>(buffers.a), buffers.c);
}

void run_product_tf32(const Buffers& buffers, cudaStream_t stream) {
  launch("product_tf32", product_tf32, 1, 32, 0, stream, static_cast<const float*>(buffers.a),
         static_cast<const float*>(buffers.b), buffers.c);
}

struct Specimen {
  const char *kernel, *fault;
  void (*run)(const Buffers&, cudaStream_t);
};

constexpr Specimen kSpecimens[] = {
    {"product_bf16", "none", run_product<bfloat16, Fault::none>},
    {"product_f16", "none", run_product<float16, Fault::none>},
    {"product_f16", "no_wait", run_product<float16, Fault::no_wait>},
    {"product_f16", "no_barrier_before_use", run_product<float16, Fault::no_barrier_before_use>},
    {"product_f16", "stage_overwritten", run_product<float16, Fault::stage_overwritten>},
    {"product_f16", "swapped_fragment", run_product<float16, Fault::swapped_fragment>},
    {"product_f16", "wrong_matrix_row", run_product<float16, Fault::wrong_matrix_row>},
    {"product_tf32", "none", run_product_tf32},
    {"sum_of_block", "none", run_sum_of_block<Fault::none>},
    {"sum_of_block", "no_barrier_before_use", run_sum_of_block<Fault::no_barrier_before_use>},
    {"sum_of_block", "barrier_skipped", run_sum_of_block<Fault::barrier_skipped>},
    {"sum_of_block", "blocks_share_an_element", run_sum_of_block<Fault::blocks_share_an_element>},
    {"sum_of_block", "divergent", run_sum_of_block<Fault::divergent>},
    {"sum_by_atomics", "none", run_sum_by_atomics<Fault::none>},
    {"sum_by_atomics", "lost_update", run_sum_by_atomics<Fault::lost_update>},
    {"sum_by_atomics", "uninitialised", run_sum_by_atomics<Fault::uninitialised>},
    {"reverse", "none", run_reverse<Fault::none>},
    {"reverse", "read_past_shared", run_reverse<Fault::read_past_shared>},
    {"reverse", "write_past_global", run_reverse<Fault::write_past_global>},
    {"rotate_in_warp", "none", run_rotate<Fault::none>},
    {"rotate_in_warp", "no_warp_barrier", run_rotate<Fault::no_warp_barrier>},
};

}  // namespace

void run_specimen(const char* kernel, const char* fault, const void* a, const void* b, float* c,
                  int depth, bool b_by_depth, cudaStream_t stream) {
  for (const Specimen& specimen : kSpecimens) {
    if (std::string_view(kernel) == specimen.kernel && std::string_view(fault) == specimen.fault) {
      specimen.run({a, b, c, depth, b_by_depth}, stream);
      return;
    }
  }
  if (run_specimen_sm90(kernel, a, b, c, stream)) return;
  throw std::runtime_error("no such specimen");
}

}  // namespace fastconv::cuda
