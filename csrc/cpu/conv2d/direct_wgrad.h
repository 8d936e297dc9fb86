// The gradient of the weight with no im2col matrix; direct_wgrad_plan.h says how. To be included
// under an instruction set's pragma.
#pragma once

#include "cpu/conv2d/direct_wgrad_ahead.h"
#include "cpu/conv2d/direct_wgrad_kernel.h"
#include "cpu/conv2d/direct_wgrad_plan.h"
#include "cpu/conv2d/direct_wgrad_store.h"
#include "cpu/conv2d/direct_wgrad_view.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/parallel.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

template <class Target>
class DirectWgrad {
 public:
  using Vector = typename Target::template Vector<float>;
  using Shape = GemmShape<Target::kIsa, float>;
  using OfVectors = typename WgradTileTable<Target>::OfVectors;

  DirectWgrad(const Conv2dProblem& problem, int threads)
      : plan_(direct_wgrad_plan(problem, Target::kIsa, threads)),
        in_weight_(sums_in_weight()),
        workers_(worker_count(plan_.tasks(), threads)) {
    Carver count(nullptr);
    const Scratch scratch(*this, count);
    worker_bytes_ = count.bytes();
  }

  int64_t workspace() const { return parts_bytes() + workers_ * worker_bytes_; }

  void run(const float* input, const float* grad, float* weight, std::byte* workspace,
           const Parallel& parallel) const {
    float* const parts = reinterpret_cast<float*>(workspace);
    TaskQueue queue(plan_.tasks());
    parallel.for_each(workers_, [&](int64_t worker) {
      Carver carver(workspace + parts_bytes() + worker * worker_bytes_);
      const Scratch scratch(*this, carver);
      for (int64_t task = queue.take(); task >= 0; task = queue.take()) {
        run_task(task, input, grad, weight, parts, scratch);
      }
    });
    if (plan_.parts > 1) add_parts(parts, weight, parallel);
  }

 private:
  // Sums over this many chunks go into a total of their own level: one running sum over the 24000
  // chunks of a 3-million-pixel batch would lose half its digits' margin.
  static constexpr int64_t kChunksPerSum = 32;

  using Block = WgradBlock;
  using Views = WgradViews<Target>;
  using View = typename Views::View;

  // Where a block is summed.
  struct Sums {
    float* at;
    int64_t row, tap_row, tap_column;
  };

  // Of a chunk, the pixels whose tap lies inside the image, and the strides of the walk over them.
  struct Walk {
    PixelWalk walk;
    const float *x, *g;
  };

  struct Scratch {
    float *sum, *total, *input, *grad;
    Walk* walks;
    const void** ahead;

    Scratch(const DirectWgrad& wgrad, Carver& carver)
        : sum(carver.take<float>(wgrad.in_weight_ ? 0 : wgrad.plan_.block_elements())),
          total(carver.take<float>(wgrad.has_totals() ? wgrad.plan_.block_elements() : 0)),
          input(carver.take<float>(wgrad.plan_.input_slab)),
          grad(carver.take<float>(wgrad.plan_.grad_slab)),
          walks(carver.take<Walk>(wgrad.plan_.taps())),
          ahead(carver.take<const void*>(LinesAhead::kEntries)) {}
  };

  bool has_totals() const { return ceil_div(plan_.chunks(), plan_.parts) > kChunksPerSum; }

  // The tiles go straight into a weight whose channels are neighbours.
  bool sums_in_weight() const {
    return !plan_.channels_are_rows && plan_.parts == 1 && !has_totals() && plan_.p.weight.c == 1 &&
           plan_.channels() % Vector::kLanes == 0;
  }

  int64_t parts_bytes() const {
    if (plan_.parts == 1) return 0;
    return round_up(plan_.tasks() * plan_.block_elements() * int64_t{sizeof(float)}, 64);
  }
  float* part_of(float* parts, int64_t task) const { return parts + task * plan_.block_elements(); }

  // Tasks count blocks, then parts, then groups.
  void run_task(int64_t task, const float* input, const float* grad, float* weight, float* parts,
                const Scratch& scratch) const {
    const Conv2dProblem& p = plan_.p;
    const Block block(plan_, task % plan_.blocks(), task / plan_.blocks() / plan_.parts);
    const EvenParts chunks{plan_.chunks(), 1, plan_.parts};
    const int64_t part = task / plan_.blocks() % plan_.parts;
    const int64_t begin = chunks.begin(part), end = begin + chunks.size(part);
    const float* const x = input + block.first_channel() * p.input.c;
    const float* const g = grad + block.first_filter() * p.output.c;

    Sums sums{scratch.sum, plan_.block_stride(), 0, 0};
    if (in_weight_) {
      sums = {weight + block.weight_offset(p), p.weight.n, p.weight.h, p.weight.w};
    } else {
      sums.tap_column = block.tap_stride();
      sums.tap_row = p.S * sums.tap_column;
      if (plan_.parts > 1 && !has_totals()) sums.at = part_of(parts, task);
    }
    float* const total = plan_.parts > 1 ? part_of(parts, task) : scratch.total;
    const Views views(plan_, block);
    LinesAhead ahead(scratch.ahead);
    const int64_t steps = plan_.steps_a_chunk(block.filters.size, block.channels.size);
    int64_t in_sum = 0;
    bool has_total = false;
    int64_t until = plan_.band_end(begin, end);
    PixelBox next = plan_.band(begin, until);
    for (int64_t from = begin; from < end; until = plan_.band_end(from, end)) {
      const PixelBox band = next;
      const View x_view = views.input(x, band, scratch.input);
      const View g_view = views.grad(g, band, scratch.grad);
      if (until < end) next = plan_.band(until, plan_.band_end(until, end));
      look_ahead(x, g, block, until < end ? next : PixelBox{}, (until - from) * steps, ahead);
      const bool one_chunk = until - from == 1;
      for (; from < until; ++from) {
        add_chunk(block, one_chunk ? band : plan_.chunk(from), x_view, g_view, sums, in_sum > 0,
                  scratch.walks, ahead);
        if (++in_sum < kChunksPerSum || !has_totals()) continue;
        add_to(total, sums.at, !has_total);
        has_total = true;
        in_sum = 0;
      }
    }
    if (has_totals() && in_sum > 0) add_to(total, sums.at, !has_total);
    if (plan_.parts == 1 && !in_weight_) {
      store_wgrad<Target>(plan_, block, has_totals() ? total : sums.at, weight);
    }
  }

  void add_to(float* total, const float* sum, bool first) const {
    const int64_t elements = plan_.block_elements();
    for (int64_t i = 0; i < elements; i += Vector::kLanes) {
      const typename Vector::Type x = Vector::load(sum + i);
      Vector::store(total + i, first ? x : Vector::add(Vector::load(total + i), x));
    }
  }

  void add_parts(float* parts, float* weight, const Parallel& parallel) const {
    parallel.for_each(plan_.p.groups * plan_.blocks(), [&](int64_t index) {
      const int64_t group = index / plan_.blocks(), number = index % plan_.blocks();
      const int64_t first = group * plan_.parts * plan_.blocks() + number;
      for (int64_t part = 1; part < plan_.parts; ++part) {
        add_to(part_of(parts, first), part_of(parts, first + part * plan_.blocks()), false);
      }
      store_wgrad<Target>(plan_, Block(plan_, number, group), part_of(parts, first), weight);
    });
  }

  void look_ahead(const float* x, const float* g, const Block& block, const PixelBox& band,
                  int64_t steps, LinesAhead& ahead) const {
    const Conv2dProblem& p = plan_.p;
    const int64_t pixels = band.images.size * band.rows.size * band.columns.size;
    ahead.start(pixels * (block.channels.size + block.filters.size), steps);
    ahead.add(x, p.input, plan_.input_inner, p.H, p.W, block.channels.size, plan_.reach(band));
    ahead.add(g, p.output, plan_.grad_inner, p.P, p.Q, block.filters.size, band);
    ahead.finish();
  }

  void add_chunk(const Block& block, const PixelBox& chunk, const View& x, const View& g,
                 const Sums& sums, bool accumulate, Walk* walks, LinesAhead& ahead) const {
    const Conv2dProblem& p = plan_.p;
    for (int64_t r = 0; r < p.R; ++r) {
      for (int64_t s = 0; s < p.S; s += plan_.run) walks[r * p.S + s] = walk_of(chunk, r, s, x, g);
    }
    if (plan_.channels_are_rows) {
      add_by_channels(block, walks, g, sums, accumulate, ahead);
    } else {
      add_by_filters(block, walks, x, g, sums, accumulate, ahead);
    }
  }

  Walk walk_of(const PixelBox& chunk, int64_t r, int64_t s, const View& x, const View& g) const {
    const Conv2dProblem& p = plan_.p;
    const int64_t down = r * p.dilation.h - p.pad.h, right = s * p.dilation.w - p.pad.w;
    const Range rows = pixels_inside(chunk.rows, down, p.stride.h, p.H);
    const Range columns =
        plan_.run > 1 ? chunk.columns : pixels_inside(chunk.columns, right, p.stride.w, p.W);
    PixelWalk walk{};
    walk.images = chunk.images.size;
    walk.rows = columns.size > 0 ? rows.size : 0;
    walk.columns = columns.size;
    const Strides4 input{x.strides.n, 0, x.strides.h * p.stride.h, x.strides.w * p.stride.w};
    const Strides4& a = plan_.channels_are_rows ? input : g.strides;
    const Strides4& b = plan_.channels_are_rows ? g.strides : input;
    walk.a_image = a.n;
    walk.a_row = a.h;
    walk.a_column = a.w;
    walk.b_image = b.n;
    walk.b_row = b.h;
    walk.b_column = b.w;
    walk.a_plane = p.output.c;
    return {walk,
            x.pixel(chunk.images.begin, rows.begin * p.stride.h + down,
                    columns.begin * p.stride.w + right),
            g.pixel(chunk.images.begin, rows.begin, columns.begin)};
  }

  WgradTile tile_for(const OfVectors& of_vectors, int64_t columns) const {
    const int64_t vectors = ceil_div(columns, Shape::kLanes);
    return of_vectors[(vectors < plan_.tile_vectors ? vectors : plan_.tile_vectors) - 1];
  }

  static void run_tile(WgradTile tile, Walk& w, const float* a, const float* b, float* c,
                       int64_t c_stride, bool accumulate, LinesAhead& ahead) {
    w.walk.ahead = ahead.take(w.walk.images * w.walk.rows * w.walk.columns);
    tile(w.walk, a, b, c, c_stride, accumulate);
  }

  void add_by_filters(const Block& block, Walk* walks, const View& x, const View& g,
                      const Sums& sums, bool accumulate, LinesAhead& ahead) const {
    const Conv2dProblem& p = plan_.p;
    const int64_t height = plan_.tile_filters, filters = block.filters.size;
    const bool in_planes = plan_.rows_in_planes && !plan_.copies_rows;
    const int64_t a_row = in_planes ? p.output.c : 1;
    const auto& table = kWgradTiles<Target>.at[in_planes];
    const int64_t tiles = ceil_div(filters, height), together = plan_.tiles_together ? tiles : 1;
    for (int64_t first = 0; first < tiles; first += together) {
      for (int64_t r = 0; r < p.R; ++r) {
        int64_t x_at = 0;
        for (int64_t c = 0; c < block.channels.size; c += plan_.tile_columns) {
          for (int64_t t = first; t < first + together; ++t) {
            const int64_t filter = t * height, left = filters - filter;
            const int64_t panel = plan_.half_panels() ? t / 2 : t;
            const int64_t g_at =
                panel * g.strides.c + (filter - panel * plan_.panel_filters()) * a_row;
            const WgradTile tile =
                tile_for(table[(left < height ? left : height) - 1], block.channels.size - c);
            float* to = sums.at + filter * sums.row + r * sums.tap_row + c;
            for (int64_t s = 0; s < p.S; ++s, to += sums.tap_column) {
              Walk& w = walks[r * p.S + s];
              if (w.walk.rows == 0 && accumulate) continue;
              run_tile(tile, w, w.g + g_at, w.x + x_at, to, sums.row, accumulate, ahead);
            }
          }
          x_at += x.strides.c;
        }
      }
    }
  }

  void add_by_channels(const Block& block, Walk* walks, const View& g, const Sums& sums,
                       bool accumulate, LinesAhead& ahead) const {
    const Cuts tiles(EvenParts::at_most(plan_.run * block.channels.size, Shape::kTileRows, 1));
    for (int64_t tap = 0; tap < plan_.taps(); tap += plan_.run) {
      Walk& w = walks[tap];
      if (w.walk.rows == 0 && accumulate) continue;
      for (int64_t t = 0; t < tiles.parts; ++t) {
        const auto& of_vectors = kWgradTiles<Target>.at[0][tiles.size(t) - 1];
        float* const to = sums.at + (tap * block.channels.size + tiles.begin(t)) * sums.row;
        for (int64_t f = 0; f < block.filters.size; f += plan_.tile_columns) {
          run_tile(tile_for(of_vectors, block.filters.size - f), w, w.x + tiles.begin(t),
                   w.g + f / plan_.tile_columns * g.strides.c, to + f, sums.row, accumulate, ahead);
        }
      }
    }
  }

  DirectWgradPlan plan_;
  bool in_weight_;
  int64_t workers_;
  int64_t worker_bytes_;
};

}  // namespace fastconv::cpu
