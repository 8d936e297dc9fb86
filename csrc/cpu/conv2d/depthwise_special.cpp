#include "cpu/conv2d/depthwise_special.h"

#include "cpu/dispatch_dtype.h"

namespace fastconv::cpu {
namespace {

template <class T>
class Redo {
 public:
  Redo(const Conv2dProblem& problem, const Conv2dTensors& tensors)
      : p_(problem), t_(tensors), multiplier_(problem.K / problem.C) {}

  void wgrad(int64_t k) const {
    if (!has_nan(k)) return;
    for (int64_t r = 0; r < p_.R; ++r) {
      for (int64_t s = 0; s < p_.S; ++s) put(t_.weight, p_.weight, k, 0, r, s, wgrad_at(k, r, s));
    }
  }

 private:
  static double at(const void* base, const Strides4& s, int64_t n, int64_t c, int64_t h,
                   int64_t w) {
    return Storage<T>::load(static_cast<const T*>(base)[n * s.n + c * s.c + h * s.h + w * s.w]);
  }
  static void put(void* base, const Strides4& s, int64_t n, int64_t c, int64_t h, int64_t w,
                  double value) {
    using Accumulator = typename Storage<T>::Accumulator;
    static_cast<T*>(base)[n * s.n + c * s.c + h * s.h + w * s.w] =
        Storage<T>::store(static_cast<Accumulator>(value));
  }

  bool has_nan(int64_t k) const {
    bool found = false;  // with no jump for each: it is asked of every weight
    for (int64_t r = 0; r < p_.R; ++r) {
      const T* const row = static_cast<const T*>(t_.weight) + k * p_.weight.n + r * p_.weight.h;
      for (int64_t s = 0; s < p_.S; ++s) {
        const auto x = Storage<T>::load(row[s * p_.weight.w]);
        found |= x != x;
      }
    }
    return found;
  }

  int64_t row(int64_t i, int64_t r) const { return i * p_.stride.h - p_.pad.h + r * p_.dilation.h; }
  int64_t col(int64_t j, int64_t s) const { return j * p_.stride.w - p_.pad.w + s * p_.dilation.w; }
  bool in_plane(int64_t i, int64_t j, int64_t r, int64_t s) const {
    return row(i, r) >= 0 && row(i, r) < p_.H && col(j, s) >= 0 && col(j, s) < p_.W;
  }
  double input(int64_t n, int64_t c, int64_t i, int64_t j, int64_t r, int64_t s) const {
    return at(t_.input, p_.input, n, c, row(i, r), col(j, s));
  }

  double wgrad_at(int64_t k, int64_t r, int64_t s) const {
    double sum = 0;
    for (int64_t n = 0; n < p_.N; ++n) {
      for (int64_t i = 0; i < p_.P; ++i) {
        for (int64_t j = 0; j < p_.Q; ++j) {
          const double grad = at(t_.output, p_.output, n, k, i, j);
          if (in_plane(i, j, r, s)) {
            sum += grad * input(n, k / multiplier_, i, j, r, s);
          } else if (p_.dtype == DType::f64) {
            sum += grad * 0.0;
          }
        }
      }
    }
    return sum;
  }

  const Conv2dProblem& p_;
  const Conv2dTensors& t_;
  int64_t multiplier_;
};

}  // namespace

void depthwise_redo_wgrad(const Conv2dProblem& problem, const Conv2dTensors& tensors,
                          const Parallel& parallel) {
  dispatch_dtype(problem.dtype, [&](auto tag) {
    const Redo<typename decltype(tag)::type> redo(problem, tensors);
    parallel.for_each(problem.K, [&](int64_t k) { redo.wgrad(k); });
  });
}

}  // namespace fastconv::cpu
