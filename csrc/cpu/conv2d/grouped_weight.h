// The weight of a grouped convolution of few channels as the kernels read it: for each vector of
// filters, tap and channel, the weights of its lanes. To be included under an instruction set's
// pragma.
//
// A lane's filter is a row of memory, and what is wanted are columns of such rows. Where a row has
// enough of them side by side, squares are turned round; one by one, an element took 3.3 cycles,
// and the weight of 32 groups of 32 channels as long as its products with a plane of 7 x 7.
#pragma once

#include "cpu/conv2d/gather.h"
#include "cpu/conv2d/grouped_plan.h"
#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {

template <class Target, class T>
class GroupedWeight {
 public:
  using Vector = typename Target::template Vector<float>;
  static constexpr int kLanes = Vector::kLanes;

  GroupedWeight(const Gather& gather, const GroupedPlan& plan, const T* weight)
      : g_(gather), plan_(plan), weight_(weight) {}

  // Taps in the order in which they lie in the image; those of dgrad read it backwards.
  void pack(int64_t vector, float* to) const {
    const Lanes lanes = lanes_of(vector);
    const int64_t channels = g_.x.channels, channel_stride = g_.weight.channel_stride;
    if (g_.weight.filter_stride == 1 && plan_.groups_a_bundle == 1) {
      for_each_tap([&](int64_t tap, int64_t offset) {
        const T* from = weight_ + lanes.offset[0] + offset;
        for (int64_t c = 0; c < channels; ++c, from += channel_stride) {
          Vector::store(to + (tap * channels + c) * kLanes, Vector::load_lanes(from, lanes.used));
        }
      });
    } else if (channel_stride == 1 && channels >= kWorthTurning) {
      for_each_tap([&](int64_t tap, int64_t offset) {
        for (int64_t c = 0; c < channels; c += kLanes) {
          const Square square(weight_ + offset + c, lanes, channels - c);
          for (int64_t j = 0; j < kLanes && c + j < channels; ++j) {
            square.store(j, to + (tap * channels + c + j) * kLanes);
          }
        }
      });
    } else if (const Run run = run_of_taps(); g_.x.taps() >= kWorthTurning && run.size > 0) {
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t begin = run.begin; begin < run.begin + run.size; begin += kLanes) {
          const Square square(weight_ + c * channel_stride + begin, lanes,
                              run.begin + run.size - begin);
          for_each_tap([&](int64_t tap, int64_t offset) {
            if (offset < begin || offset >= begin + kLanes) return;
            square.store(offset - begin, to + (tap * channels + c) * kLanes);
          });
        }
      }
    } else {
      for_each_tap([&](int64_t tap, int64_t offset) {
        const T* from = weight_ + offset;
        for (int64_t c = 0; c < channels; ++c, from += channel_stride) {
          Vector::store(to + (tap * channels + c) * kLanes,
                        Vector::gather(from, lanes.offset, lanes.used));
        }
      });
    }
  }

 private:
  // Of a row of a square; with fewer it is quicker to pick them.
  static constexpr int64_t kWorthTurning = 6;

  // Where the filters of a vector's lanes lie; bits of the lanes that have one.
  struct Lanes {
    int64_t offset[kLanes];
    uint32_t used;
  };
  Lanes lanes_of(int64_t vector) const {
    Lanes lanes{};
    const int64_t bundle = vector / plan_.vectors_a_bundle;
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      int64_t group = bundle, filter = vector % plan_.vectors_a_bundle * kLanes + lane;
      if (plan_.groups_a_bundle > 1) {
        const int64_t in_bundle = lane / g_.filters;
        if (in_bundle >= plan_.groups_a_bundle) break;
        group = bundle * plan_.groups_a_bundle + in_bundle;
        filter = lane % g_.filters;
      }
      if (group >= g_.groups || filter >= g_.filters) break;
      lanes.offset[lane] = group * g_.w_group + filter * g_.weight.filter_stride;
      lanes.used |= 1u << lane;
    }
    return lanes;
  }

  // Up to kLanes neighbours of each lane's filter, turned round.
  class Square {
   public:
    Square(const T* from, const Lanes& lanes, int64_t count) {
      const uint32_t wanted = first_lanes(count) & first_lanes(kLanes);
      alignas(64) float rows[kLanes * kLanes];
      for (int lane = 0; lane < kLanes; ++lane) {
        const bool used = lanes.used >> lane & 1u;
        Vector::store(
            rows + lane * kLanes,
            used ? Vector::load_lanes(from + lanes.offset[lane], wanted) : Vector::zero());
      }
      Vector::transpose(rows, kLanes, columns_, kLanes);
    }
    void store(int64_t column, float* to) const {
      Vector::store(to, Vector::load(columns_ + column * kLanes));
    }

   private:
    alignas(64) float columns_[kLanes * kLanes];
  };

  // fn(tap, offset): its place among the packed ones, and in a filter.
  template <class F>
  void for_each_tap(const F& fn) const {
    const Im2col& m = g_.x;
    int64_t tap = 0;
    for (int64_t r = 0; r < m.rows.count; ++r) {
      for (int64_t s = 0; s < m.columns.count; ++s, ++tap) {
        const DepthIndex at{0, m.rows.offset_step < 0 ? m.rows.count - 1 - r : r,
                            m.columns.offset_step < 0 ? m.columns.count - 1 - s : s};
        fn(tap, g_.weight.offset(m, at));
      }
    }
  }

  // The piece of memory that holds a channel's taps; none where it is mostly other things.
  struct Run {
    int64_t begin, size;
  };
  Run run_of_taps() const {
    int64_t low = INT64_MAX, high = INT64_MIN;
    for_each_tap([&](int64_t, int64_t offset) {
      low = offset < low ? offset : low;
      high = offset > high ? offset : high;
    });
    return {low, high - low < 2 * g_.x.taps() ? high - low + 1 : 0};
  }

  const Gather& g_;
  const GroupedPlan& plan_;
  const T* weight_;
};

}  // namespace fastconv::cpu
