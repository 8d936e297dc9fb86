// grad_bias[k] = sum over n, p, q of grad_output[n, k, p, q], in double: one channel may hold
// millions of values. No sum depends on the number of threads.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/conv2d/algorithms.h"
#include "cpu/dispatch_dtype.h"

namespace fastconv::cpu {
namespace {

// Eight sums side by side: one addition need not wait for the last, and the compiler makes vectors
// of them.
template <class T>
double sum_of_row(const T* row, int64_t stride, int64_t count) {
  constexpr int kSums = 8;
  double sums[kSums] = {};
  int64_t i = 0;
  if (stride == 1) {
    for (; i + kSums <= count; i += kSums) {
      for (int l = 0; l < kSums; ++l) sums[l] += Storage<T>::load(row[i + l]);
    }
  }
  for (; i < count; ++i) sums[i % kSums] += Storage<T>::load(row[i * stride]);
  double sum = 0.0;
  for (const double part : sums) sum += part;
  return sum;
}

template <class T>
void store(void* grad_bias, int64_t channel, double sum) {
  using Accumulator = typename Storage<T>::Accumulator;
  static_cast<T*>(grad_bias)[channel] = Storage<T>::store(static_cast<Accumulator>(sum));
}

template <class T>
void sum_planes(const Conv2dProblem& p, const T* grad_output, void* grad_bias,
                const Parallel& parallel) {
  const Strides4& s = p.output;
  parallel.for_each(p.K, [&](int64_t channel) {
    double sum = 0.0;
    for (int64_t n = 0; n < p.N; ++n) {
      for (int64_t row = 0; row < p.P; ++row) {
        sum += sum_of_row(grad_output + n * s.n + channel * s.c + row * s.h, s.w, p.Q);
      }
    }
    store<T>(grad_bias, channel, sum);
  });
}

// channels_last: pixels go by one at a time, all channels of each, in a number of chunks that
// follows from the problem.
template <class T>
void sum_pixels(const Conv2dProblem& p, const T* grad_output, void* grad_bias,
                const Parallel& parallel) {
  constexpr int64_t kRowsInChunk = 64, kMostChunks = 16;
  const Strides4& s = p.output;
  const int64_t rows = p.N * p.P;
  const int64_t chunks = std::clamp<int64_t>(rows / kRowsInChunk, 1, kMostChunks);
  std::vector<double> sums(static_cast<size_t>(chunks * p.K), 0.0);
  parallel.for_each(chunks, [&](int64_t chunk) {
    double* const sum = sums.data() + chunk * p.K;
    for (int64_t row = rows * chunk / chunks; row < rows * (chunk + 1) / chunks; ++row) {
      const T* pixel = grad_output + row / p.P * s.n + row % p.P * s.h;
      for (int64_t q = 0; q < p.Q; ++q, pixel += s.w) {
        for (int64_t channel = 0; channel < p.K; ++channel) {
          sum[channel] += Storage<T>::load(pixel[channel]);
        }
      }
    }
  });
  for (int64_t channel = 0; channel < p.K; ++channel) {
    double sum = 0.0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += sums[chunk * p.K + channel];
    store<T>(grad_bias, channel, sum);
  }
}

}  // namespace

void conv2d_bias_gradient(const Conv2dProblem& p, const void* grad_output, void* grad_bias,
                          const Parallel& parallel) {
  dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* const grad = static_cast<const T*>(grad_output);
    if (p.output.c == 1 && p.K > 1 && p.output.w != 1) {
      sum_pixels(p, grad, grad_bias, parallel);
    } else {
      sum_planes(p, grad, grad_bias, parallel);
    }
  });
}

}  // namespace fastconv::cpu
