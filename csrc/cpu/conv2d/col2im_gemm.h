// dgrad by col2im (col2im_plan.h), for one instruction set. To be included under its pragma, last.
#pragma once

#include <algorithm>

#include "cpu/conv2d/algorithms.h"
#include "cpu/conv2d/col2im_plan.h"
#include "cpu/conv2d/col2im_rows.h"
#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/filter_rows.h"
#include "cpu/conv2d/pack_sources.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/dispatch_dtype.h"
#include "cpu/gemm/frame.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

template <class Target, class T>
class Col2imGemm {
 public:
  using Accumulator = typename Storage<T>::Accumulator;
  using Shape = GemmShape<Target::kIsa, Accumulator>;
  static constexpr Col2imTile kTile{Shape::kTileRows, Shape::kTileColumns, Shape::kLanes};

  Col2imGemm(const Conv2dProblem& p, int threads)
      : p_(p),
        plan_(p, kTile, threads),
        pixels_{p.N,
                p.group_out_channels(),
                p.P,
                p.Q,
                p.P,
                p.Q,
                {1, 1},
                {1, 0, 0, 0, 1},
                {1, 0, 0, 0, 1},
                p.output,
                true},
        workers_(worker_count(plan_.tasks(), threads)) {
    Carver count(nullptr);
    const Worker worker(*this, count);
    worker_bytes_ = count.bytes();
  }

  int64_t workspace() const { return workers_ * worker_bytes_; }

  void run(const T* grad_output, const T* weight, T* grad_input, std::byte* workspace,
           const Parallel& parallel) const {
    TaskQueue queue(plan_.tasks());
    parallel.for_each(workers_, [&](int64_t index) {
      Carver carver(workspace + index * worker_bytes_);
      Worker worker(*this, carver);
      for (int64_t task = queue.take(); task >= 0; task = queue.take()) {
        worker.run(task, grad_output, weight, grad_input);
      }
    });
  }

 private:
  using Scratch = PackScratch<Target, Accumulator>;

  class Worker {
   public:
    Worker(const Col2imGemm& gemm, Carver& carver)
        : p_(gemm.p_),
          plan_(gemm.plan_),
          matrix_(gemm.pixels_),
          scratch_{carver.take<Accumulator>(Scratch::kTilesElements),
                   carver.take<Accumulator>(Scratch::kStageElements),
                   carver.take<Accumulator>(round_up(std::min(plan_.most_columns(), kBlockColumns),
                                                     Shape::kTileColumns) *
                                            std::min(matrix_.channels, Shape::kDepth))},
          stride_(BlockOfC<Accumulator>::stride_for(round_up(plan_.most_columns(), Shape::kLanes))),
          sums_(carver.take<Accumulator>(
              (plan_.pixels_a_block + Col2imRows<Target, T>::kSpareSums) * stride_)),
          rows_(p_, plan_, carver),
          pixel_source_(matrix_, along_channels() ? 0 : int64_t{Shape::kTileRows}, carver),
          channel_source_(matrix_, carver),
          filters_(p_, plan_),
          panels_(carver.take<Accumulator>(
              plan_.packs_filters
                  ? round_up(plan_.most_columns(), Shape::kTileColumns) * matrix_.channels
                  : 0)) {}

    // Groups vary fastest, then blocks of channels.
    void run(int64_t task, const T* grad_output, const T* weight, T* grad_input) {
      const int64_t group = task % plan_.groups, rest = task / plan_.groups;
      const int64_t block = rest % plan_.channels.parts, chunk = rest / plan_.channels.parts;
      const Range channels{plan_.channels.begin(block), plan_.channels.size(block)};
      const T* const image = grad_output + group * p_.group_out_channels() * p_.output.c;
      pixel_source_.read_from(image);
      channel_source_.read_from(image);
      filters_.read_from(weight + group * p_.group_out_channels() * p_.weight.n, channels);
      const int64_t first_channel = group * p_.group_in_channels() + channels.begin;
      rows_.begin(grad_input + first_channel * p_.input.c, channels.size);

      if (plan_.packs_filters) pack_filters(channels.size * plan_.taps);

      const int64_t plane = p_.P * p_.Q;
      const int64_t begin = plan_.images.begin(chunk) * plane;
      const int64_t size = plan_.images.size(chunk) * plane;
      const Cuts blocks(EvenParts::at_most(size, plan_.pixels_a_block, Shape::kTileRows));
      for (int64_t i = 0; i < blocks.parts; ++i) {
        const Range pixels{begin + blocks.begin(i), blocks.size(i)};
        multiply(pixels, channels.size * plan_.taps);
        add(pixels);
      }
    }

   private:
    bool along_channels() const { return reads_best_along_channels(matrix_); }

    // Once for all blocks of pixels.
    void pack_filters(int64_t columns) {
      pack_panels(Operand<Target, Accumulator>{&filters_, false}, 0, columns, 0, matrix_.channels,
                  {nullptr, nullptr, panels_});
    }

    void multiply(Range pixels, int64_t columns) {
      const Operand<Target, Accumulator> grad_output =
          along_channels() ? Operand<Target, Accumulator>{&channel_source_, true}
                           : Operand<Target, Accumulator>{&pixel_source_, false};
      Operand<Target, Accumulator> filters{&filters_, false};
      if (plan_.packs_filters) {
        filters.panels = panels_;
        filters.panel_stride = matrix_.channels * Shape::kTileColumns;
      }
      const auto blocks = EvenParts::at_most(columns, kBlockColumns, Shape::kTileColumns);
      for (int64_t i = 0; i < blocks.parts; ++i) {
        const Range block{blocks.begin(i), blocks.size(i)};
        gemm_block(grad_output, filters, pixels, block, Range{0, matrix_.channels},
                   StartOfC<Accumulator>{}, BlockOfC<Accumulator>{sums_ + block.begin, stride_},
                   scratch_);
      }
    }

    void add(Range pixels) {
      PixelIndex at = PixelIndex::at(matrix_, pixels.begin);
      for (int64_t done = 0; done < pixels.size;) {
        if (at.row == 0 && at.column == 0) rows_.begin_image(at.image);
        const int64_t left = pixels.size - done, of_row = p_.Q - at.column;
        const int64_t run = left < of_row ? left : of_row;
        rows_.add(at.row, {at.column, run}, sums_ + done * stride_, stride_);
        done += run;
        if (at.row == p_.P - 1 && at.column + run == p_.Q) rows_.end_image();
        at.column += run - 1;
        at.advance(matrix_);
      }
    }

    const Conv2dProblem& p_;
    const Col2imPlan& plan_;
    const Im2col& matrix_;
    Scratch scratch_;
    int64_t stride_;
    Accumulator* sums_;  // of a block of pixels
    Col2imRows<Target, T> rows_;
    PixelSource<Target, T> pixel_source_;
    ChannelSource<Target, T> channel_source_;
    FilterRows<Target, T> filters_;
    Accumulator* panels_;  // null where they are not packed first
  };

  const Conv2dProblem& p_;
  Col2imPlan plan_;
  Im2col pixels_;  // of output, as the im2col matrix of a single tap
  int64_t workers_;
  int64_t worker_bytes_ = 0;
};

template <class Target>
struct Col2imAlgorithm {
  static int64_t workspace(const Conv2dProblem& p, int threads) {
    return dispatch_dtype(p.dtype, [&](auto tag) {
      return Col2imGemm<Target, typename decltype(tag)::type>(p, threads).workspace();
    });
  }

  static void dgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                    const Parallel& parallel) {
    dispatch_dtype(p.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      Col2imGemm<Target, T>(p, parallel.threads())
          .run(static_cast<const T*>(t.output), static_cast<const T*>(t.weight),
               static_cast<T*>(t.input), workspace, parallel);
    });
  }

  static double cost(const Conv2dProblem& p, int threads) {
    return col2im_seconds(p, Target::kIsa, threads);
  }

  static constexpr Conv2dAlgorithm dgrad_algorithm(const char* name) {
    return {
        {name, "conv2d", "dgrad", Target::kIsa, kAllDTypes, 4e-7,
         "a product with the weight as it lies, whose sums are added where the windows stand; "
         "workspace of a thread about 1 MB, up to 4 MB for its part of the weight where that is "
         "packed, and up to 8 MB for the rows in a window's reach"},
        reject_col2im,
        workspace,
        dgrad,
        cost};
  }
};

}  // namespace fastconv::cpu
