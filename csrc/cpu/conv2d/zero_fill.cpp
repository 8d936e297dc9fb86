#include "cpu/conv2d/zero_fill.h"

#include <cstring>

#include "cpu/dispatch_dtype.h"

namespace fastconv::cpu {

void fill_input_with_zeros(const Conv2dProblem& p, void* input, const Parallel& parallel) {
  const int64_t elements = p.N * p.C * p.H * p.W, size = size_of(p.dtype);
  if (elements == 0) return;
  const int64_t last =
      (p.N - 1) * p.input.n + (p.C - 1) * p.input.c + (p.H - 1) * p.input.h + (p.W - 1) * p.input.w;
  if (last + 1 == elements) {  // dense, in whatever order: all zero bits are zero in every dtype
    parallel.for_ranges(elements, [&](int64_t begin, int64_t end) {
      std::memset(static_cast<char*>(input) + begin * size, 0, (end - begin) * size);
    });
    return;
  }
  dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel.for_each(p.N * p.C, [&](int64_t task) {
      T* const plane = static_cast<T*>(input) + task / p.C * p.input.n + task % p.C * p.input.c;
      for (int64_t h = 0; h < p.H; ++h) {
        for (int64_t w = 0; w < p.W; ++w) plane[h * p.input.h + w * p.input.w] = T{};
      }
    });
  });
}

}  // namespace fastconv::cpu
