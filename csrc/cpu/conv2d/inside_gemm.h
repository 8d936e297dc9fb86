// The product of an im2col matrix and a weight in panels without what the padding adds: nothing.
// One tap after another, its channels the reduction and the pixels that find it inside the image
// the rows. To be included under an instruction set's pragma.
#pragma once

#include "cpu/conv2d/im2col.h"
#include "cpu/conv2d/inside_taps.h"
#include "cpu/gemm/frame.h"

namespace fastconv::cpu {

// C += those products; x counts its reduction (row tap, column tap, channel). A block of B stays in
// L2 for all runs of pixels.
template <class Target, class Accumulator>
void multiply_inside(const InsideTaps& taps, const Im2col& x,
                     const Operand<Target, Accumulator>& pixels,
                     const Operand<Target, Accumulator>& filters, Range rows, Range columns,
                     const BlockOfC<Accumulator>& c,
                     const PackScratch<Target, Accumulator>& scratch) {
  using Shape = GemmShape<Target::kIsa, Accumulator>;
  const auto parts = EvenParts::at_most(x.channels, Shape::kDepth, 1);
  for (int64_t tap = 0; tap < x.taps(); ++tap) {
    for (int64_t part = 0; part < parts.parts; ++part) {
      const Range depth{tap * x.channels + parts.begin(part), parts.size(part)};
      taps.for_each_run(tap / x.columns.count, tap % x.columns.count, rows, [&](Range run) {
        const BlockOfC<Accumulator> block{c.data + (run.begin - rows.begin) * c.stride, c.stride};
        gemm_block(pixels, filters, run, columns, depth,
                   StartOfC<Accumulator>{block.data, block.stride, 1}, block, scratch);
      });
    }
  }
}

}  // namespace fastconv::cpu
