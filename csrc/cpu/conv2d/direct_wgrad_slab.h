// Copies of a box of pixels in which the channels of a pixel are neighbours, for the tensors that
// do not lie so. To be included under an instruction set's pragma.
#pragma once

#include "cpu/conv2d/direct_wgrad_plan.h"
#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {

// What is copied: the channels of a tensor of so many rows and columns of pixels.
struct SlabSource {
  const float* at;  // its first channel
  Strides4 strides;
  bool channels_inner;
  int64_t height, width, channels;
};

// Panels of neighbouring channels, pixel by pixel: every `step` channels a new one of `width`; zero
// outside the tensor and past the last channel. A single panel may have any width.
template <class Target>
class SlabCopy {
 public:
  using Vector = typename Target::template Vector<float>;
  static constexpr int64_t kLanes = Vector::kLanes;
  static constexpr uint32_t kAll = first_lanes(kLanes);

  SlabCopy(const SlabSource& from, const PixelBox& box, float* to, int64_t width, int64_t step)
      : from_(from), box_(box), to_(to), width_(width), step_(step) {}

  int64_t panel_stride() const { return slab_panel_stride(box_, width_); }

  void run() const {
    const bool rows_follow = box_.columns.begin == 0 && box_.columns.size == from_.width &&
                             box_.rows.begin >= 0 &&
                             box_.rows.begin + box_.rows.size <= from_.height &&
                             from_.strides.h == from_.width * from_.strides.w;
    float* to = to_;
    for (int64_t n = 0; n < box_.images.size; ++n) {
      const float* const image = from_.at + (box_.images.begin + n) * from_.strides.n;
      if (rows_follow) {
        const int64_t pixels = box_.rows.size * from_.width;
        copy_inside(image + box_.rows.begin * from_.strides.h, pixels, to);
        to += pixels * width_;
        continue;
      }
      for (int64_t i = 0; i < box_.rows.size; ++i, to += box_.columns.size * width_) {
        copy_row(image, box_.rows.begin + i, to);
      }
    }
  }

 private:
  void copy_row(const float* image, int64_t row, float* to) const {
    const bool row_inside = row >= 0 && row < from_.height;
    const int64_t before = clamp(row_inside ? -box_.columns.begin : box_.columns.size);
    const int64_t until = clamp(from_.width - box_.columns.begin);
    const int64_t after = before > until ? before : until;
    for (int64_t c = 0; c < from_.channels; c += step_) {
      float* const panel = to + c / step_ * panel_stride();
      zero(panel, before);
      zero(panel + after * width_, box_.columns.size - after);
    }
    if (after == before) return;
    const Strides4& s = from_.strides;
    copy_inside(image + row * s.h + (box_.columns.begin + before) * s.w, after - before,
                to + before * width_);
  }
  void copy_inside(const float* from, int64_t pixels, float* to) const {
    if (from_.channels_inner) {
      copy_pixels(from, pixels, to);
      return;
    }
    for (int64_t c = 0; c < from_.channels; c += step_) {
      transpose_panel(from + c * from_.strides.c, pixels, c, to + c / step_ * panel_stride());
    }
  }
  int64_t clamp(int64_t column) const {
    return column < 0 ? 0 : column < box_.columns.size ? column : box_.columns.size;
  }

  void zero(float* to, int64_t pixels) const {
    for (int64_t i = 0; i < pixels * width_; i += kLanes) {
      Vector::store_lanes(to + i, Vector::zero(), first_lanes(pixels * width_ - i) & kAll);
    }
  }

  // Panels inside and pixels outside: memory is read as it lies.
  void copy_pixels(const float* from, int64_t pixels, float* to) const {
    if (from_.channels == width_ && step_ == width_ && from_.strides.w == width_) {
      copy_run(from, pixels * width_, pixels * width_, to);
      return;
    }
    const int64_t channels = from_.channels, stride = from_.strides.w;
    const int64_t width = width_, step = step_, next = panel_stride();
    const bool vectors = width % kLanes == 0 && channels >= width;
    const int64_t whole = vectors ? (channels - width) / step * step + step : 0;
    for (int64_t i = 0; i < pixels; ++i, from += stride, to += width) {
      float* panel = to;
      int64_t c = 0;
      for (; c < whole; c += step, panel += next) {
        for (int64_t j = 0; j < width; j += kLanes) {
          Vector::store(panel + j, Vector::load_unaligned(from + c + j));
        }
      }
      for (; c < channels; c += step, panel += next) copy_run(from + c, channels - c, width, panel);
    }
  }
  int64_t channels_of(int64_t c) const {
    return from_.channels - c < width_ ? from_.channels - c : width_;
  }

  void transpose_panel(const float* from, int64_t pixels, int64_t channel, float* to) const {
    for (int64_t c = 0; c < width_; c += kLanes) {
      transpose_pixels(from + c * from_.strides.c, pixels, channels_of(channel) - c, to + c);
    }
  }

  static void copy_run(const float* from, int64_t count, int64_t room, float* to) {
    int64_t whole = 0;
    for (; whole + kLanes <= count; whole += kLanes) {
      Vector::store_unaligned(to + whole, Vector::load_unaligned(from + whole));
    }
    for (int64_t i = whole; i < room; i += kLanes) {
      const uint32_t lanes = count > i ? first_lanes(count - i) & kAll : 0;
      Vector::store_lanes(to + i, Vector::load_lanes(from + i, lanes),
                          first_lanes(room - i) & kAll);
    }
  }

  // A vector of channels, each of whose pixels lie strides.w apart.
  void transpose_pixels(const float* from, int64_t pixels, int64_t channels, float* to) const {
    alignas(64) float rows[kLanes * kLanes];
    alignas(64) float turned[kLanes * kLanes];
    const int64_t count = channels < kLanes ? channels : kLanes;
    for (int64_t c = count < 0 ? 0 : count; c < kLanes; ++c) {
      Vector::store(rows + c * kLanes, Vector::zero());
    }
    const int64_t stride = from_.strides.c;
    for (int64_t i = 0; i < pixels; i += kLanes, from += kLanes * from_.strides.w) {
      const int64_t left = pixels - i;
      if (left >= kLanes && count == kLanes && from_.strides.w == 1) {
        Vector::transpose(from, stride, to + i * width_, width_);
        continue;
      }
      if (from_.strides.w == 1) {
        const uint32_t lanes = first_lanes(left) & kAll;
        for (int64_t c = 0; c < count; ++c) {
          Vector::store(rows + c * kLanes, Vector::load_lanes(from + c * stride, lanes));
        }
      } else {
        for (int64_t c = 0; c < count; ++c) {
          for (int64_t l = 0; l < left && l < kLanes; ++l) {
            rows[c * kLanes + l] = from[c * stride + l * from_.strides.w];
          }
        }
      }
      Vector::transpose(rows, kLanes, turned, kLanes);
      const uint32_t lanes = first_lanes(width_ % kLanes == 0 ? kLanes : count) & kAll;
      for (int64_t l = 0; l < left && l < kLanes; ++l) {
        Vector::store_lanes(to + (i + l) * width_, Vector::load(turned + l * kLanes), lanes);
      }
    }
  }

  SlabSource from_;
  PixelBox box_;
  float* to_;
  int64_t width_, step_;
};

}  // namespace fastconv::cpu
