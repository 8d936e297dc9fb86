// Tensors for the tests: any strides, in heap blocks of exactly the bytes that they span, so that
// AddressSanitizer sees the first byte read or written beyond them; and elements that belong to no
// tensor, between strides, keep a pattern that a stray store would destroy.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cpu/dispatch_dtype.h"
#include "cpu/parallel.h"
#include "harness.h"
#include "problem.h"

namespace fastconv::test {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t between(int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(engine_);
  }
  bool one_in(int64_t n) { return between(1, n) == 1; }
  template <class T>
  T pick(std::initializer_list<T> choices) {
    return choices.begin()[between(0, static_cast<int64_t>(choices.size()) - 1)];
  }

 private:
  std::mt19937_64 engine_;
};

using Sizes4 = std::array<int64_t, 4>;

// Dense in the given order of dimensions, the last one outermost of all steps of `step` elements.
inline Strides4 strides_in_order(const Sizes4& sizes, const std::array<int, 4>& order,
                                 int64_t step = 1) {
  std::array<int64_t, 4> strides{};
  for (int i = 3; i >= 0; --i) {
    const auto d = static_cast<size_t>(order[static_cast<size_t>(i)]);
    strides[d] = step;
    step *= std::max<int64_t>(sizes[d], 1);
  }
  return {strides[0], strides[1], strides[2], strides[3]};
}

enum class Layout { nchw, nhwc, odd };

inline const char* name_of(Layout layout) {
  return layout == Layout::nchw ? "nchw" : layout == Layout::nhwc ? "nhwc" : "odd strides";
}

inline Strides4 strides_of(Layout layout, const Sizes4& sizes, Random& random) {
  if (layout == Layout::nchw) return strides_in_order(sizes, {0, 1, 2, 3});
  if (layout == Layout::nhwc) return strides_in_order(sizes, {0, 2, 3, 1});
  const auto order = random.pick<std::array<int, 4>>(
      {{0, 1, 2, 3}, {0, 1, 3, 2}, {1, 0, 2, 3}, {2, 3, 1, 0}, {3, 2, 1, 0}, {0, 2, 3, 1}});
  return strides_in_order(sizes, order, random.between(1, 3));
}

inline std::ostream& operator<<(std::ostream& out, const Strides4& s) {
  return out << s.n << "," << s.c << "," << s.h << "," << s.w;
}

class Block {
 public:
  // 64-byte aligned where asked, else only as malloc does; every byte starts as `fill`.
  Block(int64_t bytes, int fill, bool cache_line = false) : bytes_(bytes) {
    void* memory = nullptr;
    const auto size = static_cast<size_t>(bytes);
    if (posix_memalign(&memory, cache_line ? 64 : sizeof(double), size) != 0)
      throw std::bad_alloc();
    memory_.reset(static_cast<std::byte*>(memory));
    std::fill_n(memory_.get(), size, static_cast<std::byte>(fill));
  }
  Block(const Block& other) : Block(other.bytes_, 0) {
    std::copy_n(other.memory_.get(), static_cast<size_t>(bytes_), memory_.get());
  }

  std::byte* data() const { return memory_.get(); }
  int64_t bytes() const { return bytes_; }
  bool operator==(const Block& other) const {
    return std::equal(data(), data() + bytes_, other.data(), other.data() + other.bytes_);
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  int64_t bytes_;
  std::unique_ptr<std::byte, Free> memory_;
};

class TensorBlock {
 public:
  TensorBlock(int64_t element_bytes, const Sizes4& sizes, const Strides4& strides)
      : sizes_(sizes), strides_(strides), block_(span(sizes, strides) * element_bytes, kPattern) {}

  void* data() const { return block_.data(); }
  const Block& block() const { return block_; }

  // fn(element) for every element, in the order of n, c, h, w.
  template <class T, class F>
  void for_each(const F& fn) const {
    for (int64_t n = 0; n < sizes_[0]; ++n) {
      for (int64_t c = 0; c < sizes_[1]; ++c) {
        for (int64_t h = 0; h < sizes_[2]; ++h) {
          for (int64_t w = 0; w < sizes_[3]; ++w) {
            fn(reinterpret_cast<T*>(
                block_.data())[n * strides_.n + c * strides_.c + h * strides_.h + w * strides_.w]);
          }
        }
      }
    }
  }

 private:
  static constexpr int kPattern = 0x5a;

  static int64_t span(const Sizes4& sizes, const Strides4& strides) {
    if (std::ranges::find(sizes, 0) != sizes.end()) return 0;
    return 1 + (sizes[0] - 1) * strides.n + (sizes[1] - 1) * strides.c +
           (sizes[2] - 1) * strides.h + (sizes[3] - 1) * strides.w;
  }

  Sizes4 sizes_;
  Strides4 strides_;
  Block block_;
};

template <class T>
void copy_elements(const TensorBlock& from, const TensorBlock& to) {
  std::vector<T> elements;
  from.for_each<T>([&](T& element) { elements.push_back(element); });
  size_t at = 0;
  to.for_each<T>([&](T& element) { element = elements[at++]; });
}

template <class F>
void fill(const TensorBlock& tensor, DType dtype, const F& value) {
  cpu::dispatch_dtype(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using Accumulator = typename cpu::Storage<T>::Accumulator;
    tensor.for_each<T>(
        [&](T& element) { element = cpu::Storage<T>::store(static_cast<Accumulator>(value())); });
  });
}

// Every element has the same value (-0 and 0 are one, and so are all NaNs), and every byte between
// them is the same.
inline void check_equal(const TensorBlock& actual, const TensorBlock& expected, DType dtype,
                        const std::string& what) {
  cpu::dispatch_dtype(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    std::vector<double> values;
    expected.for_each<T>([&](T& x) { values.push_back(cpu::Storage<T>::load(x)); });
    size_t at = 0;
    actual.for_each<T>([&](T& x) {
      const double got = cpu::Storage<T>::load(x), wanted = values[at];
      check(got == wanted || (got != got && wanted != wanted), what, ": element ", at, " is ", got,
            ", the reference says ", wanted);
      ++at;
    });
    // Once its elements are the expected ones bit for bit, what differs lies between them.
    const TensorBlock merged = actual;
    copy_elements<T>(expected, merged);
    check(merged.block() == expected.block(), what, ": wrote between the elements");
  });
}

// Every thread of its own, joined before it returns.
template <int kThreads>
void run_on_threads(int64_t count, cpu::Parallel::Body body, void* context) {
  std::vector<std::thread> threads;
  const int64_t share = (count + kThreads - 1) / kThreads;
  for (int64_t begin = 0; begin < count; begin += share) {
    threads.emplace_back(body, begin, std::min(count, begin + share), context);
  }
  for (std::thread& thread : threads) thread.join();
}

inline cpu::Parallel threads(int64_t count) {
  if (count == 1) return {run_on_threads<1>, 1};
  return count == 2 ? cpu::Parallel{run_on_threads<2>, 2} : cpu::Parallel{run_on_threads<3>, 3};
}

// Runs the algorithm on exactly the workspace that it asks for, filled with bytes that make NaNs.
template <class Algorithm, class Problem, class Tensors>
void run(const Algorithm& algorithm, const Problem& problem, const Tensors& tensors,
         const cpu::Parallel& parallel) {
  const Block workspace(algorithm.workspace(problem, parallel.threads()), 0xff, true);
  algorithm.run(problem, tensors, workspace.data(), parallel);
}

}  // namespace fastconv::test
