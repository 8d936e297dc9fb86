// How a kernel runs on several threads without knowing whose they are: the operators hand in
// torch's intra-op pool, the C++ unit tests hand in one of their own.
#pragma once

#include <cstdint>

namespace fastconv::cpu {

class Parallel {
 public:
  using Body = void (*)(int64_t begin, int64_t end, void* context);
  // Calls body over disjoint ranges that cover [0, count), at most `threads` of them at a time, and
  // returns when all are done. Nested inside a parallel region it may run everything in the calling
  // thread.
  using Run = void (*)(int64_t count, Body body, void* context);

  constexpr Parallel(Run run, int threads) : run_(run), threads_(threads) {}

  // For work inside a task: everything in the calling thread.
  static constexpr Parallel alone() { return {nullptr, 1}; }

  int threads() const { return threads_; }

  // fn(task) for every task in [0, count). fn must not throw.
  template <class F>
  void for_each(int64_t count, const F& fn) const {
    if (threads_ == 1 || count <= 1) {
      for (int64_t task = 0; task < count; ++task) fn(task);
      return;
    }
    run_(
        count,
        [](int64_t begin, int64_t end, void* context) {
          for (int64_t task = begin; task < end; ++task) (*static_cast<const F*>(context))(task);
        },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }

  // fn(begin, end) over disjoint ranges that cover [0, count).
  template <class F>
  void for_ranges(int64_t count, const F& fn) const {
    if (threads_ == 1 || count <= 1) {
      if (count > 0) fn(int64_t{0}, count);
      return;
    }
    run_(
        count,
        [](int64_t begin, int64_t end, void* context) {
          (*static_cast<const F*>(context))(begin, end);
        },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }

 private:
  Run run_;
  int threads_;
};

}  // namespace fastconv::cpu
