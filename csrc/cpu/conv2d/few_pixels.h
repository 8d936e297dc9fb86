// The windows of a few pixels of the output, each in the order in which a filter's elements lie in
// memory. To be included under an instruction set's pragma.
#pragma once

#include "cpu/dtype.h"
#include "cpu/gemm/blocking.h"
#include "problem.h"

namespace fastconv::cpu {

template <class Target, class T>
class FewPixels {
 public:
  using Sum = typename Storage<T>::Accumulator;
  using Vector = typename Target::template Vector<Sum>;
  static constexpr int kLanes = Vector::kLanes;

  explicit FewPixels(const Conv2dProblem& problem)
      : p_(problem),
        depth_(problem.group_in_channels() * problem.R * problem.S),
        row_(round_up(depth_, kLanes)),
        pixels_(problem.N * problem.P * problem.Q) {}

  int64_t depth() const { return depth_; }  // elements of a window
  int64_t row() const { return row_; }      // from one window to the next, whole vectors
  int64_t pixels() const { return pixels_; }
  int64_t of_group() const { return pixels_ * row_; }
  int64_t elements() const { return p_.groups * of_group(); }

  // [group][pixel][row]: zeros for padding and up to whole vectors.
  void copy_windows(const T* input, Sum* to) const {
    for (int64_t group = 0; group < p_.groups; ++group) {
      const T* const channels = input + group * p_.group_in_channels() * p_.input.c;
      for (int64_t n = 0; n < p_.N; ++n) {
        for (int64_t op = 0; op < p_.P; ++op) {
          for (int64_t oq = 0; oq < p_.Q; ++oq, to += row_) {
            copy_window(channels + n * p_.input.n, op, oq, to);
          }
        }
      }
    }
  }

  // Of the first filter's output, from the tensor's first element.
  int64_t offset_in_output(int64_t pixel) const {
    const int64_t oq = pixel % p_.Q, op = pixel / p_.Q % p_.P, n = pixel / p_.Q / p_.P;
    return n * p_.output.n + op * p_.output.h + oq * p_.output.w;
  }

 private:
  void copy_window(const T* image, int64_t op, int64_t oq, Sum* to) const {
    for (int64_t i = 0; i < row_; i += kLanes) Vector::store(to + i, Vector::zero());
    for (int64_t r = 0; r < p_.R; ++r) {
      const int64_t h = op * p_.stride.h - p_.pad.h + r * p_.dilation.h;
      if (h < 0 || h >= p_.H) continue;
      for (int64_t s = 0; s < p_.S; ++s) {
        const int64_t w = oq * p_.stride.w - p_.pad.w + s * p_.dilation.w;
        if (w < 0 || w >= p_.W) continue;
        const T* const from = image + h * p_.input.h + w * p_.input.w;
        Sum* const tap = to + r * p_.weight.h + s * p_.weight.w;
        for (int64_t c = 0; c < p_.group_in_channels(); ++c) {
          tap[c * p_.weight.c] = Storage<T>::load(from[c * p_.input.c]);
        }
      }
    }
  }

  const Conv2dProblem& p_;
  int64_t depth_, row_, pixels_;
};

}  // namespace fastconv::cpu
