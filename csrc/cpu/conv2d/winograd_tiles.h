// The two ends of Winograd's convolution: from the image to V, and from M to the image, a run of
// tiles and one vector of channels at a time. To be included under an instruction set's pragma.
#pragma once

#include <type_traits>

#include "cpu/conv2d/winograd_pixels.h"
#include "cpu/conv2d/winograd_plan.h"
#include "cpu/conv2d/winograd_transform.h"

namespace fastconv::cpu {

template <class Target, template <class> class Method>
class WinogradTiles {
 public:
  using Vector = typename Target::template Vector<float>;
  using Type = typename Vector::Type;
  using Transform = Method<Target>;
  static constexpr int kLanes = Vector::kLanes;
  static constexpr int kPoints = Transform::kPoints;
  static constexpr int kOutputs = Transform::kOutputs;
  static constexpr uint32_t kAllLanes = first_lanes(kLanes);

  using Pixels = WinogradPixels<Target, kOutputs, kPoints>;

  // scratch: Pixels::kScratchFloats.
  WinogradTiles(const WinogradConv& conv, const WinogradPlan& plan, float* scratch)
      : conv_(conv), plan_(plan), scratch_(scratch) {}

  // Channels [channel, channel + kLanes) of the tiles of a run, transformed:
  // keep(tile of the block, point, value) takes each.
  template <class T, class Keep>
  void transform_input(const T* x, int64_t channel, const TileRun& run, const Keep& keep) const {
    const TilePixels<T> pixels{x + channel * conv_.x.c,
                               conv_.x,
                               conv_.channels - channel,
                               conv_.height,
                               conv_.width,
                               conv_.pad_h,
                               conv_.pad_w};
    const typename Pixels::template Tiles<kPoints, T> tiles(pixels, run, conv_.dilation, scratch_);
    for (int64_t t = 0; t < run.size(); ++t) {
      const TileView from = tiles.tile(t);
      transform_square<Target, kPoints, kPoints>(
          [](const Type* d, Type* v) { Transform::input(d, v); },
          [&](int i, int j) {
            return Vector::load_unaligned(from.at + i * from.row + j * from.column);
          },
          [&](int i, int j, Type value) { keep(run.first + t, i * kPoints + j, value); });
    }
  }

  // y of filters [filter, filter + kLanes) for the tiles of a run. False where a sum is not finite:
  // an infinity or a NaN spreads over its tile, and sums of transformed values may overflow where
  // the plain one does not.
  template <class T>
  bool transform_output(const float* m, const T* bias, int64_t filter, const TileRun& run,
                        T* y) const {
    constexpr bool kFloats = std::is_same_v<T, float>;
    const bool channels_inner = conv_.y.c == 1 || conv_.filters == 1;
    const PixelPlace<float> in_run{scratch_, Pixels::scratch_row(run.size() * kOutputs),
                                   run.residues * kLanes};
    T* const image = y + run.image * conv_.y.n + filter * conv_.y.c;
    const int64_t left = conv_.filters - filter;
    const uint32_t lanes = first_lanes(left < kLanes ? left : int64_t{kLanes});
    const Type start = bias == nullptr ? Vector::zero() : Vector::load_lanes(bias + filter, lanes);
    const int64_t stride = plan_.m_stride, point = plan_.block_tiles * stride;
    Type not_finite = Vector::zero();
    for (int64_t t = 0; t < run.size(); ++t) {
      const float* const from = m + (run.first + t) * stride + filter;
      const int64_t column = Pixels::tile_column(run, conv_.dilation.w, t);
      const bool in_place =
          kFloats && channels_inner && lanes == kAllLanes && lies_inside(run.row, column);
      PixelPlace<float> to = in_run;
      if (channels_inner) {
        to = {scratch_, kOutputs * kLanes, kLanes};
        if constexpr (kFloats) {
          if (in_place) to = place_in(image, run.row, column);
        }
      } else {
        to.at += Pixels::scratch_column(run, t) * kLanes;
      }
      transform_square<Target, kPoints, kOutputs>(
          [](const Type* products, Type* outputs) { Transform::output(products, outputs); },
          [&](int i, int j) { return Vector::load_unaligned(from + (i * kPoints + j) * point); },
          [&](int i, int j, Type value) {
            const Type sum = Vector::add(value, start);
            Lanes<Target>::note_infinite(sum, not_finite);
            Vector::store_unaligned(to.at + i * to.row + j * to.column, sum);
          });
      if (channels_inner && !in_place) write_tile(image, run.row, column, lanes);
    }
    if (!channels_inner) write_run(image, run, lanes, in_run.row);
    return Lanes<Target>::all_finite(not_finite, lanes);
  }

 private:
  // Where the outputs of a tile go.
  template <class T>
  struct PixelPlace {
    T* at;
    int64_t row, column;
  };

  bool lies_inside(int64_t h, int64_t w) const {
    return h + (kOutputs - 1) * conv_.dilation.h < conv_.out_height &&
           w + (kOutputs - 1) * conv_.dilation.w < conv_.out_width;
  }
  template <class T>
  PixelPlace<T> place_in(T* image, int64_t h, int64_t w) const {
    return {image + h * conv_.y.h + w * conv_.y.w, conv_.y.h * conv_.dilation.h,
            conv_.y.w * conv_.dilation.w};
  }

  // From scratch, what lies inside the image.
  template <class T>
  void write_tile(T* image, int64_t h, int64_t w, uint32_t lanes) const {
    const PixelPlace<T> to = place_in(image, h, w);
    for (int i = 0; i < kOutputs && h + i * conv_.dilation.h < conv_.out_height; ++i) {
      for (int j = 0; j < kOutputs && w + j * conv_.dilation.w < conv_.out_width; ++j) {
        Vector::store_lanes(to.at + i * to.row + j * to.column,
                            Vector::load(scratch_ + (i * kOutputs + j) * kLanes), lanes);
      }
    }
  }

  // Planes: a run at a time, turned round.
  template <class T>
  void write_run(T* image, const TileRun& run, uint32_t lanes, int64_t row_floats) const {
    for (int64_t i = 0; i < kOutputs; ++i) {
      const int64_t h = run.row + i * conv_.dilation.h;
      if (h >= conv_.out_height) return;
      Pixels::for_each_piece(run, conv_.dilation.w, run.spans * kOutputs,
                             [&](int64_t column, int64_t size, int64_t at) {
                               const int64_t left = conv_.out_width - column;
                               write_turned(scratch_ + i * row_floats + at * kLanes,
                                            left < size ? left : size, lanes,
                                            image + h * conv_.y.h + column * conv_.y.w);
                             });
    }
  }

  template <class T>
  void write_turned(const float* from, int64_t columns, uint32_t lanes, T* to) const {
    alignas(64) float square[kLanes * kLanes];
    for (int64_t j = 0; j < columns; j += kLanes) {
      const int64_t left = columns - j;
      if constexpr (std::is_same_v<T, float>) {
        if (left >= kLanes && lanes == kAllLanes) {
          Vector::transpose(from + j * kLanes, kLanes, to + j, conv_.y.c);
          continue;
        }
      }
      Vector::transpose(from + j * kLanes, kLanes, square, kLanes);
      const uint32_t in_row = first_lanes(left < kLanes ? left : int64_t{kLanes});
      for (int l = 0; l < kLanes; ++l) {
        if ((lanes >> l & 1u) == 0) break;
        Vector::store_lanes(to + l * conv_.y.c + j, Vector::load(square + l * kLanes), in_row);
      }
    }
  }

  const WinogradConv& conv_;
  const WinogradPlan& plan_;
  float* scratch_;
};

}  // namespace fastconv::cpu
