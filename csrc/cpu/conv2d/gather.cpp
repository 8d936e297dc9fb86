#include "cpu/conv2d/gather.h"

#include <algorithm>
#include <numeric>

#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {
namespace {

void choose_layout(Gather& g) {
  Im2col& x = g.x;
  const int64_t pixel_stride = x.grid_w > 1 ? g.y.w : x.grid_h > 1 ? g.y.h : g.y.n;
  g.pixels_are_columns = !(g.y.c == 1 && g.filters > 1 && pixel_stride != 1);
  // Of one channel the taps of a row are neighbours, whatever the layout says.
  const bool reads_rows_of_taps = x.channels == 1 && g.groups == 1 && x.strides.w == 1 &&
                                  x.columns.offset_step == 1 && !g.pixels_are_columns;
  if (reads_rows_of_taps) x.strides.c = 1;
  g.x_channels_inner = reads_best_along_channels(x) || reads_rows_of_taps;
  g.weight_filters_inner = g.weight.filter_stride == 1 && g.filters > 1;
  x.channel_innermost = g.x_channels_inner || (g.weight.channel_stride == 1 && x.taps() > 1);
}

// Non-negative remainder.
int64_t modulo(int64_t a, int64_t b) { return a % b < 0 ? a % b + b : a % b; }

bool has_empty_residue(int64_t extent, int64_t kernel, int64_t stride, int64_t pad,
                       int64_t dilation) {
  for (int64_t a = 0; a < std::min(stride, extent); ++a) {
    if (dgrad_taps(a, kernel, stride, pad, dilation).count == 0) return true;
  }
  return false;
}

}  // namespace

Gather fprop_gather(const Conv2dProblem& p) {
  Gather g{};
  g.x = {p.N,
         p.group_in_channels(),
         p.P,
         p.Q,
         p.H,
         p.W,
         p.stride,
         {p.R, -p.pad.h, p.dilation.h, 0, 1},
         {p.S, -p.pad.w, p.dilation.w, 0, 1},
         p.input,
         false};
  g.weight = {p.weight.n, p.weight.c, p.weight.h, p.weight.w};
  g.groups = p.groups;
  g.filters = p.group_out_channels();
  g.y = p.output;
  g.x_group = p.group_in_channels() * p.input.c;
  g.w_group = p.group_out_channels() * p.weight.n;
  g.y_group = p.group_out_channels() * p.output.c;
  choose_layout(g);
  return g;
}

Taps dgrad_taps(int64_t residue, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation) {
  // residue + pad - r * dilation = 0 (mod stride) has a solution every `every` taps, or none.
  const int64_t every = stride / std::gcd(stride, dilation);
  for (int64_t r = 0; r < std::min(every, kernel); ++r) {
    const int64_t reach = residue + pad - r * dilation;
    if (modulo(reach, stride) != 0) continue;
    const int64_t count = (kernel - 1 - r) / every + 1;
    // Formed only where there is a second tap: a lone tap's dilation may be any number.
    const int64_t offset_step = count > 1 ? -(dilation * every / stride) : 0;
    return {count, reach / stride, offset_step, r, every};
  }
  return {0, 0, 0, 0, 0};
}

Gather dgrad_gather(const Conv2dProblem& p, int64_t a, int64_t b) {
  Gather g{};
  g.x = {p.N,
         p.group_out_channels(),
         ceil_div(p.H - a, p.stride.h),
         ceil_div(p.W - b, p.stride.w),
         p.P,
         p.Q,
         {1, 1},
         dgrad_taps(a, p.R, p.stride.h, p.pad.h, p.dilation.h),
         dgrad_taps(b, p.S, p.stride.w, p.pad.w, p.dilation.w),
         p.output,
         false};
  g.weight = {p.weight.c, p.weight.n, p.weight.h, p.weight.w};
  g.groups = p.groups;
  g.filters = p.group_in_channels();
  // Formed only where there is a second pixel: a lone one's stride may be any number.
  g.y = {p.input.n, p.input.c, g.x.grid_h > 1 ? p.input.h * p.stride.h : p.input.h,
         g.x.grid_w > 1 ? p.input.w * p.stride.w : p.input.w};
  g.y_offset = a * p.input.h + b * p.input.w;
  g.x_group = p.group_out_channels() * p.output.c;
  g.w_group = p.group_out_channels() * p.weight.n;
  g.y_group = p.group_in_channels() * p.input.c;
  choose_layout(g);
  return g;
}

Gather with_channels_innermost(Gather g) {
  Im2col& x = g.x;
  x.strides = {x.height * x.width * x.channels, 1, x.width * x.channels, x.channels};
  x.channel_innermost = true;
  g.x_group = x.images * x.strides.n;
  g.x_channels_inner = true;
  return g;
}

bool reads_taps_in_turn(const Gather& g, int64_t tile_rows) {
  constexpr int64_t kFewTiles = 4, kFewestChannels = 64;
  return g.weight_filters_inner && (g.x.channel_innermost || g.x.taps() == 1) &&
         !g.pixels_are_columns && g.x.pixels() <= kFewTiles * tile_rows &&
         g.x.channels >= kFewestChannels;
}

bool dgrad_has_holes(const Conv2dProblem& p) {
  return has_empty_residue(p.H, p.R, p.stride.h, p.pad.h, p.dilation.h) ||
         has_empty_residue(p.W, p.S, p.stride.w, p.pad.w, p.dilation.w);
}

}  // namespace fastconv::cpu
