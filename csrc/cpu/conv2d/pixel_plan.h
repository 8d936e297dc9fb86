// What a range of grid pixels reads, worked out once and used for every channel and tap: where each
// panel of pixels lies in the image, and which of its lanes a tap finds inside.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/conv2d/im2col.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

class PixelPlan {
 public:
  // Lanes whose elements are lane_stride() apart in memory. `offset` is where lane 0 would lie;
  // only the lanes of the mask are in memory. Where rows of the grid follow one another in the
  // image (stride 1, "same" padding) a run goes on over their ends.
  struct Run {
    int64_t offset;
    uint32_t lanes;
  };
  // A panel of more runs than this is gathered lane by lane.
  static constexpr int kMaxRuns = 8;

  // For at most `capacity` pixels in panels of `panel_lanes` <= 32.
  PixelPlan(const Im2col& matrix, int64_t capacity, int panel_lanes, Carver& carver);

  // Plans for `size` pixels from `begin` on; does nothing where that is the plan already.
  void set(int64_t begin, int64_t size);

  // 2 where the pixels of a row are that far apart, otherwise 1.
  int64_t lane_stride() const { return lane_stride_; }

  int64_t panels() const { return panels_; }
  // 0 runs: gather.
  int run_count(int64_t panel) const { return run_counts_[panel]; }
  const Run* runs(int64_t panel) const { return runs_ + panel * kMaxRuns; }
  const int64_t* lane_offsets(int64_t panel) const { return offsets_ + panel * lanes_; }
  // The lanes that are inside the image for each row tap, and for each column tap: a tap's lanes
  // are in both.
  const uint32_t* row_masks(int64_t panel) const { return row_masks_ + panel * row_taps_; }
  const uint32_t* column_masks(int64_t panel) const { return column_masks_ + panel * column_taps_; }

 private:
  struct Interval {
    int64_t begin, end;
  };

  void add_segment(const PixelIndex& first, int64_t at, int64_t size);
  void add_run(int64_t panel, int64_t offset, uint32_t lanes);
  void set_lanes(uint32_t* masks, int64_t taps, int64_t tap, int64_t begin, int64_t end);

  Im2col matrix_;
  int lanes_;
  int64_t lane_stride_;
  int64_t row_taps_, column_taps_;
  int64_t begin_ = -1, size_ = -1, panels_ = 0;
  Interval* columns_inside_;  // for each column tap: the grid columns it finds inside the image
  int64_t* offsets_;
  Run* runs_;
  int32_t* run_counts_;
  uint32_t* row_masks_;
  uint32_t* column_masks_;
};

}  // namespace fastconv::cpu
