// The gradient of max pooling as a scatter: each output's gradient is added at its index.
//
// A task owns whole planes, or blocks of channels of an image, because an index, which nothing here
// trusts, may name any cell of its plane: no two tasks ever add to the same cell, and every sum has
// one order whatever the number of threads. 16-bit floats are summed in a float copy of the block
// and rounded once.
//
// Where the window is known, no index may lie behind its window, so that the cells of a plane are
// zeroed just before the first addition can reach them and are still in the L1 cache then: 1.4
// times as fast for planes of 112 x 112. (An image of contiguous channels is no faster for it.)
//
// Where windows overlap, a gather, in which each cell compares its own index with those of the
// windows over it, was measured too: of eleven layers it was faster in one (3x3/2 over 8 images of
// 64x112x112 in channels_last, 1.12 times) and slower or no faster in the others.
//
// Include this below a `#pragma GCC target`, with its own includes already included above it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/dispatch_dtype.h"
#include "cpu/max_pool2d/algorithms.h"
#include "cpu/max_pool2d/backward_cost.h"
#include "cpu/max_pool2d/tasks.h"
#include "cpu/max_pool2d/window.h"

namespace fastconv::cpu {
namespace {

// Sums of one block: `channels` neighbouring channels of an image, cell after cell.
template <class Sum>
struct ScatterSums {
  Sum* sums;
  int64_t pitch, channels;

  void zero(Share cells) const {
    const int64_t count = cells.end - cells.begin;
    const int64_t lines = pitch == channels ? 1 : count, length = count * channels / lines;
    for (int64_t line = 0; line < lines; ++line) {
      std::memset(sums + (cells.begin + line) * pitch, 0,
                  static_cast<size_t>(length) * sizeof(Sum));
    }
  }

  // Adds grad[i * step] to the cell indices[i * step], of channel i for kOverChannels, else of the
  // only one. Returns whether every index is below `cells`.
  template <bool kOverChannels, class T>
  bool add(const T* grad, const int64_t* indices, int64_t count, int64_t step,
           int64_t cells) const {
    // What is usual is told apart so that its loop has no multiplications that it can do without.
    const std::integral_constant<int64_t, 1> one;
    if constexpr (kOverChannels) return add_each<true>(grad, indices, count, one, pitch, cells);
    if (step == 1 && pitch == 1) return add_each<false>(grad, indices, count, one, one, cells);
    return add_each<false>(grad, indices, count, step, pitch, cells);
  }

 private:
  // Not inlined: among its callers' variables GCC 12 keeps the loop's own on the stack, which costs
  // half of the speed.
  template <bool kOverChannels, class T, class Step, class Pitch>
  [[gnu::noinline]] bool add_each(const T* grad, const int64_t* indices, int64_t count, Step step,
                                  Pitch cell_pitch, int64_t cells) const {
    Sum* const to = sums;
    const auto all = static_cast<uint64_t>(cells);
    bool in_range = true;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t index = indices[i * step];
      if (static_cast<uint64_t>(index) < all) [[likely]] {
        to[index * cell_pitch + (kOverChannels ? i : 0)] += Storage<T>::load(grad[i * step]);
      } else {
        in_range = false;
      }
    }
    return in_range;
  }
};

// How the channels of a problem are divided: one by one where planes are contiguous, in blocks
// where channels are.
struct ScatterBlocks {
  ScatterBlocks(const Pool2dProblem& p, int threads) {
    constexpr int64_t kLine = 16;  // channels: no two tasks write into one cache line of floats
    tasks = task_count(p.N * p.C * p.H * p.W, threads);
    contiguous_channels = p.input.c == 1 && p.output.c == 1 && p.C > 1;
    channels = 1;
    if (contiguous_channels) {
      const bool summed_in_copy = size_of(p.dtype) < static_cast<int64_t>(sizeof(float));
      const int64_t share = p.N >= tasks ? p.C : divide_up(p.C, tasks);
      channels = std::min(p.C, summed_in_copy ? 2 * kLine : round_up(share, kLine));
    }
    per_image = divide_up(p.C, channels);
    band = p.P;
    if (p.kernel.h > 0 && !contiguous_channels) {
      constexpr int64_t kBandBytes = int64_t{1} << 14;  // half of an L1 cache
      const int64_t row_bytes = p.W * std::max<int64_t>(size_of(p.dtype), sizeof(float));
      band = std::clamp<int64_t>(kBandBytes / row_bytes / p.stride.h, 1, std::max<int64_t>(p.P, 1));
    }
  }

  int64_t tasks, channels, per_image;
  int64_t band;  // output rows for which cells are zeroed at a time
  bool contiguous_channels;
};

template <class V, class T>
class Scatter {
  using Sum = typename V::Element;
  static constexpr bool kInPlace = std::is_same_v<T, Sum>;

 public:
  Scatter(const Pool2dProblem& problem, const MaxPool2dTensors& tensors,
          const ScatterBlocks& blocks, std::byte* workspace)
      : p_(problem), t_(tensors), blocks_(blocks), copy_(reinterpret_cast<Sum*>(workspace)) {}

  // One block; returns whether every index lies in its plane.
  bool run(int64_t n, int64_t block) const {
    const int64_t c = block * blocks_.channels;
    const int64_t channels = std::min(blocks_.channels, p_.C - c);
    const int64_t cells = p_.H * p_.W;
    T* plane = static_cast<T*>(t_.input) + n * p_.input.n + c * p_.input.c;
    const int64_t output = n * p_.output.n + c * p_.output.c;
    if constexpr (kInPlace) {
      const ScatterSums<Sum> sums{plane, p_.input.w, channels};
      return add(sums, output, channels);
    } else {
      const ScatterSums<Sum> sums{copy_, channels, channels};
      const bool in_range = add(sums, output, channels);
      if (p_.input.w == channels) {
        round(copy_, cells * channels, plane);
      } else {
        for (int64_t cell = 0; cell < cells; ++cell) {
          round(copy_ + cell * channels, channels, plane + cell * p_.input.w);
        }
      }
      return in_range;
    }
  }

 private:
  bool add(const ScatterSums<Sum>& sums, int64_t output, int64_t channels) const {
    int64_t zeroed = 0;
    bool in_range = true;
    for (int64_t op = 0; op < p_.P; op += blocks_.band) {
      const Share rows{op, std::min(op + blocks_.band, p_.P)};
      const int64_t reached = rows_within_reach(rows.end - 1) * p_.W;
      sums.zero({zeroed, reached});
      zeroed = reached;
      in_range &= add_rows(sums, output, channels, rows, reached);
    }
    return in_range;
  }

  // Of the plane, by the outputs up to row `op`.
  int64_t rows_within_reach(int64_t op) const {
    if (op == p_.P - 1) return p_.H;
    const WindowAxis h = window_rows(p_, op);
    return std::max(h.end, h.fallback + 1);
  }

  bool add_rows(const ScatterSums<Sum>& sums, int64_t output, int64_t channels, Share rows,
                int64_t cells) const {
    const T* grad = static_cast<const T*>(t_.output) + output;
    const int64_t* indices = t_.indices + output;
    bool in_range = true;
    if (blocks_.contiguous_channels) {
      for (int64_t op = rows.begin; op < rows.end; ++op) {
        for (int64_t oq = 0; oq < p_.Q; ++oq) {
          const int64_t at = op * p_.output.h + oq * p_.output.w;
          in_range &= sums.template add<true>(grad + at, indices + at, channels, 1, cells);
        }
      }
    } else if (p_.output.h == p_.Q * p_.output.w) {
      const int64_t at = rows.begin * p_.output.h, count = (rows.end - rows.begin) * p_.Q;
      in_range = sums.template add<false>(grad + at, indices + at, count, p_.output.w, cells);
    } else {
      for (int64_t op = rows.begin; op < rows.end; ++op) {
        const int64_t at = op * p_.output.h;
        in_range &= sums.template add<false>(grad + at, indices + at, p_.Q, p_.output.w, cells);
      }
    }
    return in_range;
  }

  static void round(const Sum* sums, int64_t count, T* to) {
    for (int64_t i = 0; i < count; i += V::kLanes) {
      V::store_first(to + i, V::load_first(sums + i, count - i), count - i);
    }
  }

  const Pool2dProblem& p_;
  const MaxPool2dTensors& t_;
  const ScatterBlocks& blocks_;
  Sum* copy_;
};

int64_t scatter_copy_bytes(const Pool2dProblem& p, const ScatterBlocks& blocks) {
  if (size_of(p.dtype) >= static_cast<int64_t>(sizeof(float))) return 0;
  return round_up(p.H * p.W * blocks.channels * static_cast<int64_t>(sizeof(float)), kCacheLine);
}

int64_t backward_scatter_workspace(const Pool2dProblem& p, int threads) {
  const ScatterBlocks blocks(p, threads);
  return blocks.tasks * scatter_copy_bytes(p, blocks);
}

template <class Vectors>
void run_backward_scatter(const Pool2dProblem& p, const MaxPool2dTensors& t, std::byte* workspace,
                          const Parallel& parallel) {
  const ScatterBlocks blocks(p, parallel.threads());
  const int64_t bytes = scatter_copy_bytes(p, blocks);
  dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel.for_each(blocks.tasks, [&](int64_t task) {
      const Scatter<typename Vectors::template For<T>, T> scatter(p, t, blocks,
                                                                  workspace + task * bytes);
      const Share share = share_of(p.N * blocks.per_image, task, blocks.tasks);
      bool in_range = true;
      int64_t n = share.begin == share.end ? 0 : share.begin / blocks.per_image;
      int64_t block = share.begin - n * blocks.per_image;
      for (int64_t i = share.begin; i < share.end; ++i) {
        in_range &= scatter.run(n, block);
        if (++block == blocks.per_image) {
          block = 0;
          ++n;
        }
      }
      if (!in_range) std::atomic_ref(*t.index_out_of_range).store(true);
    });
  });
}

const char* reject_scatter(const Pool2dProblem& p) {
  return p.input.h == p.W * p.input.w ? nullptr : "the rows of a plane do not follow each other";
}

template <class Vectors>
constexpr MaxPool2dAlgorithm backward_scatter_algorithm(const char* name) {
  return {{name, "max_pool2d", "backward", Vectors::kIsa, kAllDTypes, 0.0,
           "a scatter, plane by plane or over blocks of contiguous channels, vectors where 16-bit "
           "sums are rounded; workspace: for 16-bit floats one block in float, for each thread"},
          reject_scatter,
          backward_scatter_workspace,
          run_backward_scatter<Vectors>,
          backward_scatter_cost};
}

}  // namespace
}  // namespace fastconv::cpu
