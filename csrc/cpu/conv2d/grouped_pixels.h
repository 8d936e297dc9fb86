// Grouped convolution of few channels, fprop and dgrad, with no im2col and no GEMM. To be included
// under an instruction set's pragma.
//
// A vector holds the sums of neighbouring filters, lane by lane of one group or of several. What
// lane l multiplies is a channel of its own group, and those of all lanes lie in one vector of the
// pixel: a permutation of it serves every lane at once. A GEMM per group would leave 12 of 16 lanes
// idle at 4 channels per group. Other layouts than channels_last are turned on the way in and out.
#pragma once

#include "cpu/conv2d/gather.h"
#include "cpu/conv2d/grouped_plan.h"
#include "cpu/conv2d/grouped_weight.h"
#include "cpu/conv2d/store_pixels.h"
#include "cpu/conv2d/vectors_of_channels.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/gemm/blocking.h"
#include "cpu/parallel.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

template <class Target>
class GroupedPixels {
 public:
  using Vector = typename Target::template Vector<float>;
  using Type = typename Vector::Type;
  static constexpr int kLanes = Vector::kLanes;
  // Sums in registers.
  static constexpr int kPixels = GemmShape<Target::kIsa, float>::kTileRows;

  GroupedPixels(const GroupedGather& gather, int threads)
      : g_(gather), plan_(grouped_plan(gather, kLanes, threads)) {}

  template <class T>
  void pack(const T* weight, float* packed, const Parallel& parallel) const {
    const GroupedWeight<Target, T> from(g_, plan_, weight);
    parallel.for_each(plan_.bundles * plan_.vectors_a_bundle, [&](int64_t vector) {
      from.pack(vector, packed + vector * plan_.depth * kLanes);
    });
  }

  // Without the weights, for as many threads as may come.
  int64_t workspace(int threads) const {
    return worker_count(plan_.tasks(g_), threads) * scratch_bytes();
  }

  template <class T>
  void run(const T* x, const float* packed, const T* bias, T* y, std::byte* workspace,
           const Parallel& parallel) const {
    TaskQueue queue(plan_.tasks(g_));
    parallel.for_each(worker_count(plan_.tasks(g_), parallel.threads()), [&](int64_t worker) {
      Carver carver(workspace + worker * scratch_bytes());
      const Scratch scratch = carve(carver);
      for (int64_t task = queue.take(); task >= 0; task = queue.take()) {
        run_task(task, x, packed, bias, y, scratch);
      }
    });
  }

 private:
  // A vector of filters.
  struct Filters {
    uint32_t lanes;
    const float* weight;
    Type bias;
  };

  // In the slab, from a pixel of the grid, column, row tap or column tap to the next; and from a
  // pixel's sums to the next one's.
  struct Steps {
    int64_t pixel, column, row_tap, column_tap;
    int64_t sums;
  };

  // One vector of filters of a task's rows, where they cannot be summed in the output itself.
  struct Scratch {
    float *slab, *sums;
  };
  Scratch carve(Carver& carver) const {
    constexpr int64_t kSlack = VectorsOfChannels<Target, float>::kSlack;
    float* const slab = carver.take<float>(plan_.slab_elements() + kSlack * plan_.chunks * kLanes);
    return {slab, carver.take<float>((plan_.rows.largest() * g_.x.grid_w + kLanes) * kLanes)};
  }
  int64_t scratch_bytes() const {
    Carver count(nullptr);
    carve(count);
    return count.bytes();
  }

  template <class T>
  void run_task(int64_t task, const T* x, const float* packed, const T* bias, T* y,
                const Scratch& scratch) const {
    const int64_t bundle = task % plan_.bundles, block = task / plan_.bundles;
    const int64_t image = block / plan_.rows.parts, part = block % plan_.rows.parts;
    const Range rows{plan_.rows.begin(part), plan_.rows.size(part)};
    const int64_t group = bundle * plan_.groups_a_bundle;
    const int64_t left = g_.groups - group;
    const int64_t groups = left < plan_.groups_a_bundle ? left : plan_.groups_a_bundle;
    copy_slab(x + image * g_.x.strides.n + group * g_.x_group, groups * g_.x.channels, rows,
              scratch.slab);
    for (int64_t v = 0; v < plan_.vectors_a_bundle; ++v) {
      const int64_t filter = group * g_.filters + v * kLanes;
      const int64_t filters = groups * g_.filters - v * kLanes;
      Filters f{};
      f.lanes = first_lanes(filters) & first_lanes(kLanes);
      f.weight = packed + (bundle * plan_.vectors_a_bundle + v) * plan_.depth * kLanes;
      f.bias = bias == nullptr ? Vector::zero() : Vector::load_lanes(bias + filter, f.lanes);
      T* const to = y + g_.y_offset + image * g_.y.n + rows.begin * g_.y.h + filter * g_.y.c;
      if constexpr (std::is_same_v<T, float>) {
        if (g_.y.c == 1) {
          convolve(f, scratch.slab, rows.size, to, g_.y.h, g_.y.w);
          continue;
        }
      }
      convolve(f, scratch.slab, rows.size, scratch.sums, g_.x.grid_w * kLanes, kLanes);
      store(scratch.sums, rows.size, filters < kLanes ? filters : kLanes, to);
    }
  }

  // Row by row and column by column as the taps read them, vectors of channels, zero outside the
  // image and past the last channel. Pixels one vector apart share no set of L1, which those of a
  // channels_last image with 1024 channels all do.
  template <class T>
  void copy_slab(const T* x, int64_t channels, Range rows, float* slab) const {
    const Im2col& m = g_.x;
    const Range read{rows.begin * m.step.h + reach_of(m.rows).low, plan_.slab_rows};
    const Range columns{plan_.first_column, plan_.slab_columns};
    for (int64_t c = 0; c < plan_.chunks; ++c) {
      const VectorsOfChannels<Target, T> planes(x + c * kLanes * m.strides.c, m.strides,
                                                channels - c * kLanes, m.height, m.width);
      planes.copy(read, columns, slab + c * kLanes, plan_.chunks * kLanes);
    }
  }

  // sums[row][pixel][filter] to the rows of the output that begin at `to`.
  template <class T>
  void store(const float* sums, int64_t rows, int64_t filters, T* to) const {
    for (int64_t r = 0; r < rows; ++r, sums += g_.x.grid_w * kLanes, to += g_.y.h) {
      store_pixels<Target>(sums, kLanes, g_.x.grid_w, filters, to, g_.y.w, g_.y.c);
    }
  }

  void convolve(const Filters& filters, const float* slab, int64_t rows, float* sums,
                int64_t sums_row, int64_t sums_pixel) const {
    const Im2col& m = g_.x;
    const int64_t pixel = plan_.chunks * kLanes, line = plan_.slab_columns * pixel;
    const int64_t down = m.rows.offset_step < 0 ? -m.rows.offset_step : m.rows.offset_step;
    const int64_t right =
        m.columns.offset_step < 0 ? -m.columns.offset_step : m.columns.offset_step;
    const TileTable& table = tiles_for(right);
    const Steps steps{m.step.w * pixel, pixel, down * line, right * pixel, sums_pixel};
    const auto tiles = EvenParts::at_most(m.grid_w, kPixels, g_.up);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t t = 0; t < tiles.parts; ++t) {
        const int64_t q = tiles.begin(t);
        table.at[tiles.size(t) - 1](*this, filters, steps,
                                    slab + r * m.step.h * line + q / g_.up * steps.pixel,
                                    sums + r * sums_row + q * sums_pixel);
      }
    }
  }

  // Taps of a row that are taken together, so that a permuted column, once made, is multiplied for
  // each of the pixels whose windows it is in: permutations and products share a port. Tap s of
  // pixel p is column (p * step + s + first) / up, if that is whole.
  template <int kTapsTogether, int kStepOfPixels, int kUp, int kFirst>
  struct RowOfTaps {
    static constexpr int kTaps = kTapsTogether;
    static constexpr int columns(int pixels) {
      return ((pixels - 1) * kStepOfPixels + kTaps - 1 + kFirst) / kUp + 1;
    }
    // The pixel whose tap s a column is; none is -1.
    static constexpr int pixel(int column, int s) {
      const int steps = column * kUp - kFirst - s;
      return steps < 0 || steps % kStepOfPixels != 0 ? -1 : steps / kStepOfPixels;
    }
  };
  // One tap at a time, of any stride.
  using OneTap = RowOfTaps<1, 1, 1, 0>;

  // kCount pixels of the grid.
  template <int kCount, class Row>
  static void convolve_tile(const GroupedPixels& self, const Filters& filters, const Steps& steps,
                            const float* x, float* sums) {
    constexpr int kTaps = Row::kTaps;
    const Im2col& m = self.g_.x;
    Type sum[kCount];
#pragma GCC unroll 16
    for (int p = 0; p < kCount; ++p) sum[p] = filters.bias;
    const int64_t tap_weights = m.channels * kLanes;
    const float* w = filters.weight;
    int64_t taps = 0;
    bool waiting = false;
    // What does not go on within the same running sum waits where the sums go.
    const auto flush = [&]() __attribute__((always_inline)) {
#pragma GCC unroll 16
      for (int p = 0; p < kCount; ++p) {
        float* const to = sums + p * steps.sums;
        if (waiting) sum[p] = Vector::add(Vector::load_lanes(to, filters.lanes), sum[p]);
        Vector::store_lanes(to, sum[p], filters.lanes);
        sum[p] = Vector::zero();
      }
      waiting = true;
      taps = 0;
    };
    for (int64_t r = 0; r < m.rows.count; ++r, x += steps.row_tap) {
      const float* at = x;
      for (int64_t s = 0; s < m.columns.count; s += kTaps, at += kTaps * steps.column_tap) {
        if (taps > 0 && taps + kTaps > self.plan_.taps_a_sum) flush();
        taps += kTaps;
        const float* chunk = at;
        for (int64_t c = 0; c < m.channels; c += kLanes, chunk += kLanes) {
          const int64_t left = m.channels - c;
          const int64_t count = left < kLanes ? left : kLanes;
          typename Vector::Index channel = self.lane_channels_;
          for (int64_t j = 0; j < count; ++j) {
            multiply<kCount, Row>(steps, chunk, w + (c + j) * kLanes, tap_weights, channel, sum);
            channel = Vector::index_add(channel, 1);
          }
        }
        w += kTaps * tap_weights;
      }
    }
    flush();
  }

  // sum += the products with one channel of kTaps taps. Channel by channel: four at once, with
  // columns outermost, chained so many products of one sum that the kernel waited half its time.
  template <int kCount, class Row>
  [[gnu::always_inline]] static void multiply(const Steps& steps, const float* x, const float* w,
                                              int64_t tap_weights, typename Vector::Index channel,
                                              Type (&sum)[kCount]) {
    constexpr int kTaps = Row::kTaps, kColumns = Row::columns(kCount);
    const int64_t stride = kTaps == 1 ? steps.pixel : steps.column;
    Type weight[kTaps];
#pragma GCC unroll 4
    for (int s = 0; s < kTaps; ++s) weight[s] = Vector::load(w + s * tap_weights);
    // Not to be loaded once for all channels: 16 columns have no room in registers.
    __asm__ volatile("" : "+r"(x));
#pragma GCC unroll 32
    for (int i = 0; i < kColumns; ++i, x += stride) {
      const Type permuted = Vector::permute(Vector::load(x), channel);
#pragma GCC unroll 4
      for (int s = 0; s < kTaps; ++s) {
        const int p = Row::pixel(i, s);
        if (p < 0 || p >= kCount) continue;
        sum[p] = Vector::multiply_add(permuted, weight[s], sum[p]);
        // GCC would put off the products of each sum to the end, and keep the permuted columns on
        // the stack until then.
        Vector::pin(sum[p]);
      }
    }
  }

  using Tile = void (*)(const GroupedPixels&, const Filters&, const Steps&, const float*, float*);
  struct TileTable {
    Tile at[kPixels] = {};
  };
  template <class Row>
  static constexpr TileTable tiles_of() {
    TileTable table;
    fill<Row, kPixels>(table);
    return table;
  }
  template <class Row, int kCount>
  static constexpr void fill(TileTable& table) {
    table.at[kCount - 1] = convolve_tile<kCount, Row>;
    if constexpr (kCount > 1) fill<Row, kCount - 1>(table);
  }
  template <class Row>
  static const TileTable kTilesOf;
  // right: columns from one tap to the next.
  const TileTable& tiles_for(int64_t right) const {
    const int64_t taps = g_.x.columns.count, step = g_.x.step.w;
    if (g_.up == 2) {
      return reach_of(g_.x.columns).low % 2 == 0 ? kTilesOf<RowOfTaps<3, 1, 2, 0>>
                                                 : kTilesOf<RowOfTaps<3, 1, 2, 1>>;
    }
    if (right == 1 && step == 1 && taps % 3 == 0) return kTilesOf<RowOfTaps<3, 1, 1, 0>>;
    if (right == 1 && step == 2 && taps % 3 == 0) return kTilesOf<RowOfTaps<3, 2, 1, 0>>;
    if (right == 1 && step == 1 && taps % 2 == 0) return kTilesOf<RowOfTaps<2, 1, 1, 0>>;
    return kTilesOf<OneTap>;
  }

  // For each lane, the first channel of its filter's group within the bundle's vector.
  typename Vector::Index first_channels() const {
    alignas(64) int32_t channels[kLanes] = {};
    for (int64_t lane = 0; plan_.groups_a_bundle > 1 && lane < kLanes; ++lane) {
      channels[lane] = static_cast<int32_t>(lane / g_.filters * g_.x.channels % kLanes);
    }
    return Vector::load_index(channels);
  }

  GroupedGather g_;
  GroupedPlan plan_;
  typename Vector::Index lane_channels_ = first_channels();
};

template <class Target>
template <class Row>
constexpr typename GroupedPixels<Target>::TileTable GroupedPixels<Target>::kTilesOf =
    tiles_of<Row>();

}  // namespace fastconv::cpu
