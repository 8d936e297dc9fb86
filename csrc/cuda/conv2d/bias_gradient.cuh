// grad_bias[k] = sum of grad_output over N, P, Q: one block for each channel. The sums are double
// because one channel may hold millions of values; a double addition for each element read stays
// under the memory's rate even where doubles run at 1/64 of floats.
#pragma once

#include "cuda/element.h"

namespace fastconv::cuda {

constexpr int kBiasThreads = 256;
// On a multiprocessor, which grants 64 registers a thread: left to itself ptxas aims for 40 on
// sm_90 and spills one around each division.
constexpr int kBiasBlocks = 4;

struct BiasShared {
  double sums[kBiasThreads];
};

template <class T>
__global__ void __launch_bounds__(kBiasThreads, kBiasBlocks)
    bias_gradient(int64_t N, int64_t K, int64_t P, int64_t Q, Strides4 strides,
                  const T* grad_output, T* grad_bias) {
  auto& shared = dynamic_shared<BiasShared>();
  const int thread = static_cast<int>(threadIdx.x);
  for (int64_t k = blockIdx.x; k < K; k += gridDim.x) {
    double sum = 0;
    for (int64_t i = thread; i < N * P * Q; i += kBiasThreads) {
      const int64_t plane = i / Q;
      sum += Element<T>::load(grad_output[plane / P * strides.n + k * strides.c +
                                          plane % P * strides.h + i % Q * strides.w]);
    }
    __syncthreads();  // the channel before has been read
    shared.sums[thread] = sum;
    __syncthreads();  // all partial sums are there
    for (int half = kBiasThreads / 2; half > 0; half /= 2) {
      if (thread < half) shared.sums[thread] += shared.sums[thread + half];
      __syncthreads();  // this level of the tree is done
    }
    if (thread == 0) {
      grad_bias[k] =
          Element<T>::store(static_cast<typename Element<T>::Accumulator>(shared.sums[0]));
    }
  }
}

}  // namespace fastconv::cuda
