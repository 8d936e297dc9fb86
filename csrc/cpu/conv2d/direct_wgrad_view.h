// The operands of a block as its tiles read them: where they lie, or copied. To be included under
// an instruction set's pragma.
#pragma once

#include "cpu/conv2d/direct_wgrad_plan.h"
#include "cpu/conv2d/direct_wgrad_slab.h"

namespace fastconv::cpu {

template <class Target>
class WgradViews {
 public:
  // The pixel (image, row, column) lies at
  // at + image * strides.n + row * strides.h + column * strides.w - origin.
  struct View {
    const float* at;
    Strides4 strides;  // c: from a panel to the next
    int64_t origin;

    const float* pixel(int64_t image, int64_t row, int64_t column) const {
      return at + (image * strides.n + row * strides.h + column * strides.w - origin);
    }
  };

  WgradViews(const DirectWgradPlan& plan, const WgradBlock& block) : plan_(plan), block_(block) {}

  // x, g: the block's first channel or filter.
  View input(const float* x, const PixelBox& band, float* slab) const {
    const Conv2dProblem& p = plan_.p;
    if (plan_.channels_are_rows ? !plan_.copies_rows : !plan_.copies_vectors) {
      return {x, {p.input.n, plan_.tile_columns, p.input.h, p.input.w}, 0};
    }
    const SlabSource source{x, p.input, plan_.input_inner, p.H, p.W, block_.channels.size};
    const int64_t width = plan_.channels_are_rows ? block_.channels.size : plan_.tile_columns;
    return copy(source, plan_.copied_input(band), slab, width, width);
  }

  View grad(const float* g, const PixelBox& band, float* slab) const {
    const Conv2dProblem& p = plan_.p;
    if (plan_.channels_are_rows ? !plan_.copies_vectors : !plan_.copies_rows) {
      if (plan_.channels_are_rows) {
        return {g, {p.output.n, plan_.tile_columns, p.output.h, p.output.w}, 0};
      }
      const int64_t row = plan_.rows_in_planes ? p.output.c : 1;
      return {g, {p.output.n, plan_.panel_filters() * row, p.output.h, p.output.w}, 0};
    }
    const SlabSource source{g, p.output, plan_.grad_inner, p.P, p.Q, block_.filters.size};
    if (plan_.channels_are_rows) {
      return copy(source, band, slab, plan_.tile_columns, plan_.tile_columns);
    }
    return copy(source, band, slab, plan_.row_panel(), plan_.panel_filters());
  }

 private:
  static View copy(const SlabSource& source, const PixelBox& box, float* slab, int64_t width,
                   int64_t step) {
    const SlabCopy<Target> slab_copy(source, box, slab, width, step);
    slab_copy.run();
    const int64_t row = box.columns.size * width, image = box.rows.size * row;
    return {slab,
            {image, slab_copy.panel_stride(), row, width},
            box.images.begin * image + box.rows.begin * row + box.columns.begin * width};
  }

  const DirectWgradPlan& plan_;
  const WgradBlock& block_;
};

}  // namespace fastconv::cpu
