// wgrad by GEMM, both operands packed block by block. To be included under an instruction set's
// pragma.
#pragma once

#include "cpu/conv2d/pack_sources.h"
#include "cpu/conv2d/store_rows.h"
#include "cpu/conv2d/weight_gradient.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/gemm/frame.h"
#include "cpu/largest.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

template <class Target, class T>
class WeightGradientGemm {
 public:
  using Accumulator = typename Storage<T>::Accumulator;
  using Packed = PackedAs<Target, T>;
  using Shape = GemmShape<Target::kIsa, Packed>;

  WeightGradientGemm(const Conv2dProblem& problem, int threads)
      : gradient_(weight_gradient(problem, Shape::kDepth)) {
    const int64_t taps = gradient_.input.depth(), filters = gradient_.filters();
    partition_ = partition_c(gradient_.taps_are_rows ? taps : filters,
                             gradient_.taps_are_rows ? filters : taps, {1, Shape::kTileColumns},
                             Shape::kBlockOfC, gradient_.groups * gradient_.parts, threads);
    workers_ = worker_count(tasks(), threads);
    worker_bytes_ = 0;
    Carver count(nullptr);
    const Worker worker(*this, count);
    worker_bytes_ = count.bytes();
  }

  int64_t workspace() const { return partial_bytes() + workers_ * worker_bytes_; }

  // Returns the bits of the largest sum where tiles form them, 0 elsewhere.
  uint32_t run(const T* input, const T* grad, T* weight, std::byte* workspace,
               const Parallel& parallel) const {
    Accumulator* const partial =
        gradient_.parts == 1 ? nullptr : reinterpret_cast<Accumulator*>(workspace);
    Largest largest_sum;
    TaskQueue queue(tasks());
    parallel.for_each(workers_, [&](int64_t index) {
      Carver carver(workspace + partial_bytes() + index * worker_bytes_);
      Worker worker(*this, carver);
      for (int64_t task = queue.take(); task >= 0; task = queue.take()) {
        worker.run(task, input, grad, weight, partial, largest_sum);
      }
    });
    if (partial != nullptr) add_parts(partial, weight, parallel);
    return largest_sum.value();
  }

 private:
  // Sums over this many blocks of the reduction go into a total of their own level: a running sum
  // over the 12000 blocks of a 3-million-pixel batch would lose half its digits' margin.
  static constexpr int64_t kBlocksPerSum = 16;

  int64_t tasks() const { return partition_.blocks() * gradient_.groups * gradient_.parts; }
  int64_t part_elements() const {
    return gradient_.groups * gradient_.filters() * gradient_.input.depth();
  }
  int64_t partial_bytes() const {
    if (gradient_.parts == 1) return 0;
    return round_up(gradient_.parts * part_elements() * int64_t{sizeof(Accumulator)}, 64);
  }

  class Worker {
   public:
    Worker(const WeightGradientGemm& gemm, Carver& carver)
        : gradient_(gemm.gradient_),
          partition_(gemm.partition_),
          part_elements_(gemm.part_elements()),
          scratch_{carver.take<Packed>(PackScratch<Target, Packed>::kTilesElements),
                   carver.take<Packed>(PackScratch<Target, Packed>::kStageElements),
                   carver.take<Packed>(round_up(partition_.columns.largest(), Shape::kTileColumns) *
                                       Shape::kDepth)},
          c_stride_(BlockOfC<Accumulator>::stride_for(
              round_up(partition_.columns.largest(), Shape::kLanes))),
          sum_(carver.take<Accumulator>(partition_.rows.largest() * c_stride_)),
          total_(carver.take<Accumulator>(partition_.rows.largest() * c_stride_)),
          turned_(carver.take<Accumulator>(gradient_.taps_are_rows ? kLanes * kTurnedStride : 0)),
          input_pixels_(gradient_.input, gradient_.input_channels_inner ? 0 : Shape::kDepth,
                        carver),
          grad_pixels_(gradient_.grad, gradient_.grad_channels_inner ? 0 : Shape::kDepth, carver),
          input_channels_(gradient_.input, carver),
          grad_channels_(gradient_.grad, carver) {}

    void run(int64_t task, const T* input, const T* grad, T* weight, Accumulator* partial,
             Largest& largest_sum) {
      const int64_t group = task % gradient_.groups;
      const int64_t part = task / gradient_.groups % gradient_.parts;
      const int64_t block = task / gradient_.groups / gradient_.parts;
      const int64_t row = block % partition_.rows.parts, column = block / partition_.rows.parts;
      const Range rows{partition_.rows.begin(row), partition_.rows.size(row)};
      const Range columns{partition_.columns.begin(column), partition_.columns.size(column)};
      input_pixels_.read_from(input + group * gradient_.input_group);
      input_channels_.read_from(input + group * gradient_.input_group);
      grad_pixels_.read_from(grad + group * gradient_.grad_group);
      grad_channels_.read_from(grad + group * gradient_.grad_group);

      const EvenParts parts{gradient_.pixels(), 1, gradient_.parts};
      const Accumulator* const c =
          sum(rows, columns, {parts.begin(part), parts.size(part)}, largest_sum);
      const int64_t depth = gradient_.input.depth();
      if (partial == nullptr) {
        store(c, rows, columns, gradient_.weight, weight + group * gradient_.weight_group);
      } else {
        Accumulator* const to =
            partial + part * part_elements_ + group * gradient_.filters() * depth;
        store(c, rows, columns, partial_matrix(gradient_.input), to);
      }
    }

   private:
    static constexpr int64_t kLanes = Target::template Vector<Accumulator>::kLanes;
    // Taps that are turned round at a time, from rows of one vector of filters.
    static constexpr int64_t kTurnedTaps = 256;
    static constexpr int64_t kTurnedStride = kTurnedTaps + kLanes;

    // Sums the block of C over the pixels; returns where it lies.
    const Accumulator* sum(Range rows, Range columns, Range pixels,
                           [[maybe_unused]] Largest& largest_sum) {
      const Operand<Target, Packed> input = gradient_.input_channels_inner
                                                ? Operand<Target, Packed>{&input_channels_, false}
                                                : Operand<Target, Packed>{&input_pixels_, true};
      const Operand<Target, Packed> grad = gradient_.grad_channels_inner
                                               ? Operand<Target, Packed>{&grad_channels_, false}
                                               : Operand<Target, Packed>{&grad_pixels_, true};
      const bool taps_are_rows = gradient_.taps_are_rows;
      const EvenParts sums =
          EvenParts::at_most(pixels.size, kBlocksPerSum * Shape::kDepth, Shape::kDepth);
      for (int64_t s = 0; s == 0 || s < sums.parts; ++s) {
        const Range range{pixels.begin + (sums.parts > 0 ? sums.begin(s) : 0),
                          sums.parts > 0 ? sums.size(s) : 0};
        const auto multiply = [&] {
          return gemm_block(taps_are_rows ? input : grad, taps_are_rows ? grad : input, rows,
                            columns, range, StartOfC<Accumulator>{},
                            BlockOfC<Accumulator>{sum_, c_stride_}, scratch_);
        };
        if constexpr (Target::kIsa == Isa::amx) {
          largest_sum.see(multiply());
        } else {
          multiply();
        }
        if (sums.parts <= 1) return sum_;
        add_to_total(rows.size, s == 0);
      }
      return total_;
    }

    void add_to_total(int64_t rows, bool first) {
      using Vector = typename Target::template Vector<Accumulator>;
      for (int64_t i = 0; i < rows * c_stride_; i += Vector::kLanes) {
        const typename Vector::Type x = Vector::load(sum_ + i);
        Vector::store(total_ + i, first ? x : Vector::add(Vector::load(total_ + i), x));
      }
    }

    template <class Element>
    void store(const Accumulator* c, Range rows, Range columns, const WeightMatrix& matrix,
               Element* weight) {
      if (!gradient_.taps_are_rows) {
        for (int64_t i = 0; i < rows.size; ++i) {
          store_filter(c + i * c_stride_, columns, matrix,
                       weight + (rows.begin + i) * matrix.filter_stride);
        }
        return;
      }
      // A filter is a column of C: turned round, a few vectors of filters at a time.
      for (int64_t j = 0; j < columns.size; j += kLanes) {
        const int64_t filters = columns.size - j < kLanes ? columns.size - j : kLanes;
        for (int64_t i = 0; i < rows.size; i += kTurnedTaps) {
          const int64_t size = rows.size - i < kTurnedTaps ? rows.size - i : kTurnedTaps;
          transpose<Target>(c + i * c_stride_ + j, c_stride_, size, kLanes, turned_, kTurnedStride);
          for (int64_t f = 0; f < filters; ++f) {
            store_filter(turned_ + f * kTurnedStride, {rows.begin + i, size}, matrix,
                         weight + (columns.begin + j + f) * matrix.filter_stride);
          }
        }
      }
    }

    template <class Element>
    void store_filter(const Accumulator* from, Range taps, const WeightMatrix& matrix,
                      Element* filter) const {
      matrix.for_each_run(gradient_.input, DepthIndex::at(gradient_.input, taps.begin), taps.size,
                          [&](int64_t done, int64_t run, int64_t offset, int64_t stride) {
                            store_row<Target>(from + done, run, filter + offset, stride);
                          });
    }

    const WeightGradient& gradient_;
    const Partition& partition_;
    int64_t part_elements_;
    PackScratch<Target, Packed> scratch_;
    int64_t c_stride_;
    Accumulator* sum_;
    Accumulator* total_;
    Accumulator* turned_;
    PixelSource<Target, T> input_pixels_, grad_pixels_;
    ChannelSource<Target, T> input_channels_, grad_channels_;
  };

  // The parts lie filter by filter in the order of the reduction index.
  static WeightMatrix partial_matrix(const Im2col& m) {
    if (m.channel_innermost) return {m.depth(), 1, m.columns.count * m.channels, m.channels};
    return {m.depth(), m.taps(), m.columns.count, 1};
  }

  void add_parts(Accumulator* partial, T* weight, const Parallel& parallel) const {
    const int64_t filters = gradient_.filters(), depth = gradient_.input.depth();
    parallel.for_each(gradient_.groups * filters, [&](int64_t filter) {
      Accumulator* const sum = partial + filter * depth;
      for (int64_t part = 1; part < gradient_.parts; ++part) {
        const Accumulator* const more = sum + part * part_elements();
        for (int64_t i = 0; i < depth; ++i) sum[i] += more[i];
      }
      T* const to = weight + filter / filters * gradient_.weight_group +
                    filter % filters * gradient_.weight.filter_stride;
      gradient_.weight.for_each_run(gradient_.input, DepthIndex{}, depth,
                                    [&](int64_t done, int64_t run, int64_t offset, int64_t stride) {
                                      store_row<Target>(sum + done, run, to + offset, stride);
                                    });
    });
  }

  WeightGradient gradient_;
  Partition partition_;
  int64_t workers_;
  int64_t worker_bytes_;
};

}  // namespace fastconv::cpu
