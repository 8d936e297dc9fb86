// A depthwise convolution of small planes: blocks of channels are turned round, so that a pixel's
// lie side by side, computed pixel by pixel, and turned back. Vectors along rows of 7 or 10 pixels
// are half empty, and the planes of neighbouring channels have nothing else to share: 960 channels
// of 7 x 7 take 112 us so, 31 where they lie side by side, and to turn them takes 20.
//
// The gradient of the weight sums the images of a chunk in double; chunks depend on the problem
// alone. To be included under an instruction set's pragma.
#pragma once

#include <type_traits>

#include "cpu/conv2d/depthwise_pixels.h"
#include "cpu/conv2d/depthwise_pixels_wgrad.h"
#include "cpu/conv2d/store_pixels.h"
#include "cpu/conv2d/vectors_of_channels.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

// A block of channels of one thread: images of one tensor, turned.
template <class Target, class T>
class TurnedPlanes {
 public:
  using Vector = typename Target::template Vector<float>;
  static constexpr int64_t kLanes = Vector::kLanes;
  static constexpr int64_t kChannels = 4 * kLanes;

  TurnedPlanes(const Strides4& strides, int64_t height, int64_t width)
      : strides_(strides), pixels_(height * width) {
    // Rows that follow one another are one.
    const bool whole = strides.h == width * strides.w;
    rows_ = whole ? 1 : height;
    row_ = whole ? pixels_ : width;
  }

  // Both ways may touch a vector of pixels past the last image.
  int64_t elements(int64_t images) const { return (images * pixels_ + kLanes) * kChannels; }

  // Of images that lie turned.
  Strides4 turned_strides(int64_t width) const {
    return {pixels_ * kChannels, 1, width * kChannels, kChannels};
  }

  // Channels past the last are zero.
  void turn(const T* image, int64_t channels, float* to) const {
    for (int64_t c = 0; c < kChannels; c += kLanes) {
      const VectorsOfChannels<Target, T> planes(image + (c < channels ? c * strides_.c : 0),
                                                strides_, c < channels ? channels - c : 0, rows_,
                                                row_);
      planes.copy({0, rows_}, {0, row_}, to + c, kChannels);
    }
  }

  void turn_back(const float* from, int64_t channels, T* image) const {
    for (int64_t row = 0; row < rows_; ++row) {
      for (int64_t c = 0; c < channels; c += kLanes) {
        store_pixels<Target>(from + row * row_ * kChannels + c, kChannels, row_,
                             channels - c < kLanes ? channels - c : kLanes,
                             image + c * strides_.c + row * strides_.h, strides_.w, strides_.c);
      }
    }
  }

 private:
  Strides4 strides_;
  int64_t pixels_, rows_, row_;
};

template <class V, class Target, class T>
class TurnedDepthwise {
 public:
  using Planes = TurnedPlanes<Target, T>;
  static constexpr int64_t kChannels = Planes::kChannels;

  static bool fits(const Conv2dProblem& p) {
    // Measured with vectors of 8 and 16: rows as long as two of them are worth as much as they are.
    constexpr int64_t kEnd = 2 * Planes::kLanes, kMostPixels = kEnd * kEnd;
    return std::is_same_v<typename V::Element, float> && p.K == p.C && p.C >= Planes::kLanes &&
           p.input.w == 1 && p.output.w == 1 && p.W < kEnd && p.Q < kEnd &&
           p.H * p.W < kMostPixels && p.P * p.Q < kMostPixels;
  }

  TurnedDepthwise(const Conv2dProblem& problem, const Conv2dTensors& tensors)
      : p_(problem),
        t_(tensors),
        input_(problem.input, problem.H, problem.W),
        output_(problem.output, problem.P, problem.Q),
        weight_({0, problem.weight.n, problem.weight.h, problem.weight.w}, problem.R, problem.S),
        blocks_(ceil_div(problem.C, kChannels)),
        taps_(problem.R * problem.S),
        turned_(problem) {
    turned_.dtype = DType::f32;
    turned_.C = turned_.K = turned_.groups = kChannels;
    turned_.input = input_.turned_strides(problem.W);
    turned_.output = output_.turned_strides(problem.Q);
    turned_.weight = {1, 0, problem.S * kChannels, kChannels};
  }

 protected:
  // The first channel of a block, and how many it has.
  Range block(int64_t index) const {
    const int64_t begin = index * kChannels, left = p_.C - begin;
    return {begin, left < kChannels ? left : kChannels};
  }

  const Conv2dProblem& p_;
  const Conv2dTensors& t_;
  Planes input_, output_, weight_;
  int64_t blocks_, taps_;
  Conv2dProblem turned_;  // of one block
};

template <class V, class Target, class T>
class TurnedGather : TurnedDepthwise<V, Target, T> {
  using Base = TurnedDepthwise<V, Target, T>;
  using Base::block, Base::blocks_, Base::input_, Base::kChannels, Base::output_, Base::p_;
  using Base::t_, Base::turned_, Base::weight_;

 public:
  using Base::fits;

  TurnedGather(const Conv2dProblem& problem, const Conv2dTensors& tensors, bool dgrad)
      : Base(problem, tensors), dgrad_(dgrad) {
    turned_.N = 1;
  }

  int64_t workspace(int threads) const { return threads * thread_bytes(); }

  void run(std::byte* workspace, const Parallel& parallel) const {
    const int64_t tasks = p_.N * blocks_, parts = parallel.threads();
    parallel.for_each(parts, [&](int64_t part) {
      Carver carver(workspace + part * thread_bytes());
      const Scratch scratch = carve(carver);
      for (int64_t task = tasks * part / parts; task < tasks * (part + 1) / parts; ++task) {
        run_task(task % p_.N, block(task / p_.N), scratch);
      }
    });
  }

 private:
  struct Scratch {
    float *input, *output, *weight, *bias;
    std::byte* inner;
  };

  PixelGather<V, float> inner(const Scratch& s) const {
    return {turned_, Conv2dTensors{s.input, s.weight, s.output, s.bias}, dgrad_};
  }
  Scratch carve(Carver& carver) const {
    Scratch s{};
    s.input = carver.take<float>(input_.elements(1));
    s.output = carver.take<float>(output_.elements(1));
    s.weight = carver.take<float>(weight_.elements(1));
    s.bias = carver.take<float>(kChannels);
    s.inner = carver.take<std::byte>(inner(s).workspace(1));
    return s;
  }
  int64_t thread_bytes() const {
    Carver counter(nullptr);
    carve(counter);
    return counter.bytes();
  }

  void run_task(int64_t n, Range channels, const Scratch& s) const {
    const T* const bias = static_cast<const T*>(t_.bias);
    for (int64_t c = 0; c < kChannels; ++c) {
      const bool exists = c < channels.size && bias != nullptr;
      s.bias[c] = exists ? Storage<T>::load(bias[channels.begin + c]) : 0;
    }
    weight_.turn(static_cast<const T*>(t_.weight) + channels.begin * p_.weight.n, channels.size,
                 s.weight);
    T* const input = static_cast<T*>(t_.input) + n * p_.input.n + channels.begin * p_.input.c;
    T* const output = static_cast<T*>(t_.output) + n * p_.output.n + channels.begin * p_.output.c;
    if (dgrad_) {
      output_.turn(output, channels.size, s.output);
      inner(s).run(s.inner, Parallel::alone());
      input_.turn_back(s.input, channels.size, input);
    } else {
      input_.turn(input, channels.size, s.input);
      inner(s).run(s.inner, Parallel::alone());
      output_.turn_back(s.output, channels.size, output);
    }
  }

  bool dgrad_;
};

template <class V, class Target, class T>
class TurnedWgrad : TurnedDepthwise<V, Target, T> {
  using Base = TurnedDepthwise<V, Target, T>;
  using Base::block, Base::blocks_, Base::input_, Base::kChannels, Base::output_, Base::p_;
  using Base::t_, Base::taps_, Base::turned_, Base::weight_;

 public:
  using Base::fits;

  TurnedWgrad(const Conv2dProblem& problem, const Conv2dTensors& tensors) : Base(problem, tensors) {
    constexpr int64_t kTurnedBytes = 1 << 18, kMostChunks = 32;
    const int64_t image = problem.H * problem.W * kChannels * int64_t{sizeof(float)};
    at_once_ = std::clamp<int64_t>(kTurnedBytes / std::max<int64_t>(image, 1), 1,
                                   std::max<int64_t>(problem.N, 1));
    chunks_ = std::clamp<int64_t>(ceil_div(problem.N, at_once_), 1, kMostChunks);
    turned_.N = at_once_;
  }

  int64_t workspace(int threads) const { return partial_bytes() + threads * thread_bytes(); }

  void run(std::byte* workspace, const Parallel& parallel) const {
    double* const partial = reinterpret_cast<double*>(workspace);
    const int64_t tasks = chunks_ * blocks_, parts = parallel.threads();
    parallel.for_each(parts, [&](int64_t part) {
      Carver carver(workspace + partial_bytes() + part * thread_bytes());
      const Scratch scratch = carve(carver);
      for (int64_t task = tasks * part / parts; task < tasks * (part + 1) / parts; ++task) {
        sum_chunk(task / blocks_, block(task % blocks_), scratch, partial + task * block_sums());
      }
    });
    parallel.for_each(blocks_, [&](int64_t index) { write_filters(index, partial); });
  }

 private:
  struct Scratch {
    float *input, *output, *weight;
    std::byte* inner;
  };

  int64_t block_sums() const { return kChannels * taps_; }
  int64_t partial_bytes() const {
    return round_up(chunks_ * blocks_ * block_sums() * int64_t{sizeof(double)}, 64);
  }
  Scratch carve(Carver& carver) const {
    Scratch s{};
    s.input = carver.take<float>(input_.elements(at_once_));
    s.output = carver.take<float>(output_.elements(at_once_));
    s.weight = carver.take<float>(weight_.elements(1));
    s.inner = carver.take<std::byte>(PixelWgrad<V, float>(turned_, {}).workspace(1));
    return s;
  }
  int64_t thread_bytes() const {
    Carver counter(nullptr);
    carve(counter);
    return counter.bytes();
  }

  void sum_chunk(int64_t chunk, Range channels, const Scratch& s, double* sums) const {
    std::fill(sums, sums + block_sums(), 0.0);
    const T* const input = static_cast<const T*>(t_.input) + channels.begin * p_.input.c;
    const T* const output = static_cast<const T*>(t_.output) + channels.begin * p_.output.c;
    const int64_t end = p_.N * (chunk + 1) / chunks_;
    for (int64_t n = p_.N * chunk / chunks_; n < end; n += at_once_) {
      Conv2dProblem some = turned_;
      some.N = end - n < at_once_ ? end - n : at_once_;
      for (int64_t i = 0; i < some.N; ++i) {
        input_.turn(input + (n + i) * p_.input.n, channels.size, s.input + i * some.input.n);
        output_.turn(output + (n + i) * p_.output.n, channels.size, s.output + i * some.output.n);
      }
      const Conv2dTensors tensors{s.input, s.weight, s.output};
      PixelWgrad<V, float>(some, tensors).run(s.inner, Parallel::alone());
      for (int64_t i = 0; i < block_sums(); ++i) sums[i] += s.weight[i];
    }
  }

  void write_filters(int64_t index, const double* partial) const {
    const Range channels = block(index);
    T* const weight = static_cast<T*>(t_.weight) + channels.begin * p_.weight.n;
    for (int64_t tap = 0; tap < taps_; ++tap) {
      T* const to = weight + tap / p_.S * p_.weight.h + tap % p_.S * p_.weight.w;
      for (int64_t c = 0; c < channels.size; ++c) {
        double sum = 0;
        for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
          sum += partial[(chunk * blocks_ + index) * block_sums() + tap * kChannels + c];
        }
        to[c * p_.weight.n] = Storage<T>::store(static_cast<float>(sum));
      }
    }
  }

  int64_t at_once_, chunks_;
};

}  // namespace fastconv::cpu
