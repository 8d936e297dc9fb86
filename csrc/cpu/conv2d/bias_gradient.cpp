#include <cstdint>

#include "cpu/conv2d/algorithms.h"
#include "cpu/dispatch_dtype.h"

namespace fastconv::cpu {

// Summed in double: one channel may hold millions of values.
void conv2d_bias_gradient(const Conv2dProblem& p, const void* grad_output, void* grad_bias,
                          const Parallel& parallel) {
  dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using Accumulator = typename Storage<T>::Accumulator;
    const Strides4& s = p.output;
    parallel.for_each(p.K, [&](int64_t k) {
      double sum = 0.0;
      for (int64_t n = 0; n < p.N; ++n) {
        for (int64_t op = 0; op < p.P; ++op) {
          const T* row = static_cast<const T*>(grad_output) + n * s.n + k * s.c + op * s.h;
          for (int64_t oq = 0; oq < p.Q; ++oq) sum += Storage<T>::load(row[oq * s.w]);
        }
      }
      static_cast<T*>(grad_bias)[k] = Storage<T>::store(static_cast<Accumulator>(sum));
    });
  });
}

}  // namespace fastconv::cpu
