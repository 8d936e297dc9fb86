// What a range of grid pixels reads, worked out once and used for every channel and tap: where each
// vector of pixels lies in the image, and which of its lanes a tap finds inside.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/conv2d/im2col.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

class PixelPlan {
 public:
  // Lanes whose elements are neighbours in memory. `offset` is where lane 0 would lie; only the
  // lanes of the mask are in memory.
  struct Run {
    int64_t offset;
    uint32_t lanes;
  };
  // A vector of more runs than this is gathered lane by lane.
  static constexpr int kMaxRuns = 4;

  PixelPlan(const Im2col& matrix, int64_t capacity, int lanes, Carver& carver);

  // Plans for `size` pixels from `begin` on; does nothing where that is the plan already.
  void set(int64_t begin, int64_t size);

  int64_t vectors() const { return vectors_; }
  // 0 runs: gather.
  int run_count(int64_t vector) const { return run_counts_[vector]; }
  const Run* runs(int64_t vector) const { return runs_ + vector * kMaxRuns; }
  const int64_t* lane_offsets(int64_t vector) const { return offsets_ + vector * lanes_; }
  const uint32_t* row_masks(int64_t tap) const { return row_masks_ + tap * capacity_; }
  const uint32_t* column_masks(int64_t tap) const { return column_masks_ + tap * capacity_; }

 private:
  void find_runs(int64_t vector, int64_t lanes_in_use);

  const Im2col& matrix_;
  int lanes_;
  int64_t capacity_;  // in vectors
  int64_t begin_ = -1, size_ = -1, vectors_ = 0;
  int64_t* offsets_;
  Run* runs_;
  int32_t* run_counts_;
  uint32_t* row_masks_;
  uint32_t* column_masks_;
};

}  // namespace fastconv::cpu
