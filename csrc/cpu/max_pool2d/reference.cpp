// The definition of max pooling and of its gradient, to be read. Nothing here is meant to be fast.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <limits>

#include "cpu/dispatch_dtype.h"
#include "cpu/max_pool2d/entries.h"
#include "cpu/max_pool2d/window.h"

namespace fastconv::cpu {
namespace {

// The largest cell of the window and its index: a tie keeps the first, the last NaN beats
// everything, and a window of nothing but -inf gives its first cell inside the plane. A window
// wholly in the padding, which a dilation beyond the plane makes, has the value -inf.
template <class T>
void forward_element(const Pool2dProblem& p, const MaxPool2dTensors& t, int64_t n, int64_t c,
                     int64_t op, int64_t oq) {
  const WindowAxis h = window_rows(p, op);
  const WindowAxis w = window_columns(p, oq);
  const T* plane = static_cast<const T*>(t.input) + n * p.input.n + c * p.input.c;
  auto largest = -std::numeric_limits<typename Storage<T>::Accumulator>::infinity();
  T value = Storage<T>::store(largest);
  int64_t index = h.fallback * p.W + w.fallback;
  for (int64_t ih = h.first; ih < h.end; ih += h.step) {
    for (int64_t iw = w.first; iw < w.end; iw += w.step) {
      const T candidate = plane[ih * p.input.h + iw * p.input.w];
      const auto x = Storage<T>::load(candidate);
      if (x > largest || std::isnan(x)) {
        largest = x;
        value = candidate;
        index = ih * p.W + iw;
      }
    }
  }
  const int64_t at = n * p.output.n + c * p.output.c + op * p.output.h + oq * p.output.w;
  static_cast<T*>(t.output)[at] = value;
  if (t.indices != nullptr) t.indices[at] = index;
}

void forward(const Pool2dProblem& p, const MaxPool2dTensors& t, std::byte*,
             const Parallel& parallel) {
  dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel.for_each(p.N * p.C, [&](int64_t plane) {
      for (int64_t op = 0; op < p.P; ++op) {
        for (int64_t oq = 0; oq < p.Q; ++oq) {
          forward_element<T>(p, t, plane / p.C, plane % p.C, op, oq);
        }
      }
    });
  });
}

// input[n,c] = the sums of output[n,c] by index, added in the order of the output, in float (double
// for float64) and rounded once: torch rounds 16-bit gradients after each addition.
template <class T>
bool backward_plane(const Pool2dProblem& p, const MaxPool2dTensors& t, int64_t n, int64_t c,
                    typename Storage<T>::Accumulator* sums) {
  bool out_of_range = false;
  std::fill_n(sums, p.H * p.W, typename Storage<T>::Accumulator{0});
  for (int64_t op = 0; op < p.P; ++op) {
    for (int64_t oq = 0; oq < p.Q; ++oq) {
      const int64_t at = n * p.output.n + c * p.output.c + op * p.output.h + oq * p.output.w;
      const int64_t index = t.indices[at];
      if (index < 0 || index >= p.H * p.W) {
        out_of_range = true;
      } else {
        sums[index] += Storage<T>::load(static_cast<const T*>(t.output)[at]);
      }
    }
  }
  T* plane = static_cast<T*>(t.input) + n * p.input.n + c * p.input.c;
  for (int64_t h = 0; h < p.H; ++h) {
    for (int64_t w = 0; w < p.W; ++w) {
      plane[h * p.input.h + w * p.input.w] = Storage<T>::store(sums[h * p.W + w]);
    }
  }
  return out_of_range;
}

// One plane of sums for each task, and as many tasks as threads.
int64_t backward_workspace(const Pool2dProblem& p, int threads) {
  return threads * p.H * p.W * std::max<int64_t>(size_of(p.dtype), sizeof(float));
}

void backward(const Pool2dProblem& p, const MaxPool2dTensors& t, std::byte* workspace,
              const Parallel& parallel) {
  const int64_t planes = p.N * p.C;
  dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using Accumulator = typename Storage<T>::Accumulator;
    const int64_t tasks = parallel.threads();
    parallel.for_each(tasks, [&](int64_t task) {
      Accumulator* sums = reinterpret_cast<Accumulator*>(workspace) + task * p.H * p.W;
      bool out_of_range = false;
      for (int64_t plane = task; plane < planes; plane += tasks) {
        out_of_range |= backward_plane<T>(p, t, plane / p.C, plane % p.C, sums);
      }
      if (out_of_range) std::atomic_ref(*t.index_out_of_range).store(true);
    });
  });
}

const char* takes_everything(const Pool2dProblem&) { return nullptr; }
int64_t no_workspace(const Pool2dProblem&, int) { return 0; }

}  // namespace

const MaxPool2dAlgorithm max_pool2d_forward_reference = {
    {"max_pool2d_forward_reference", "max_pool2d", "forward", Isa::scalar, kAllDTypes, 0.0,
     "the definition, one window at a time; no workspace"},
    takes_everything,
    no_workspace,
    forward};

const MaxPool2dAlgorithm max_pool2d_backward_reference = {
    {"max_pool2d_backward_reference", "max_pool2d", "backward", Isa::scalar, kAllDTypes, 0.0,
     "the definition, a scatter of each plane into float sums; workspace: one plane a thread"},
    takes_everything,
    backward_workspace,
    backward};

}  // namespace fastconv::cpu
