#include "cuda/algorithm.h"
#include "cuda/conv2d/bias_gradient.cuh"
#include "cuda/launch_size.h"

namespace fastconv::cuda {

void conv2d_bias_gradient(const Conv2dProblem& p, const void* grad_output, void* grad_bias,
                          const Queue& queue) {
  if (p.K == 0) return;
  dispatch_dtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    launch("conv2d_bias_gradient", bias_gradient<T>, blocks_for(p.K), kBiasThreads,
           sizeof(BiasShared), queue.stream, p.N, p.K, p.P, p.Q, p.output,
           static_cast<const T*>(grad_output), static_cast<T*>(grad_bias));
  });
}

}  // namespace fastconv::cuda
