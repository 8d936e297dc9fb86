#include "cpu/conv2d/direct_wgrad_plan.h"

#include <algorithm>

#include "cpu/conv2d/inside_taps.h"

namespace fastconv::cpu {
namespace {

// A block of the weight and the copies share L2. 320 KiB of the weight lost up to 10 %: the more of
// its filters a block has, the seldomer the input is read and copied.
constexpr int64_t kBlockBytes = 600 * 1024;
constexpr int64_t kSlabBytes = 160 * 1024;
// Channels of a block, for 1x1 windows and for larger ones.
constexpr int64_t kChannelsOf1x1 = 512;
constexpr int64_t kChannels = 128;
// Windows so tall and wide that one chunk needs more are left to the GEMM.
constexpr int64_t kLargestSlab = 1024 * 1024;

bool channels_inner(const Strides4& strides, int64_t channels, int64_t width) {
  return strides.c == 1 && channels > 1 && !(strides.w == 1 && width > 1);
}

// Products for each copied element above which its copy pays: panels one after another are read at
// 140 GFLOP/s where pixels of 64 to 256 channels, in place, are at 90 to 125.
constexpr int64_t kProductsOfACopy = 48;
// Where filters are rows, panels pay later: with fewer products for each element of the input, in
// place is up to 11 % faster (3 % at 128 filters of 1x1). As for the gradient, in place is 5 to 8 %
// faster up to so many elements, shared among the taps, from a pixel to the next (15 % slower at
// 1024 of 1x1, whose pixels fall into few sets of L1 and a page each).
constexpr int64_t kFewProducts = 300;

bool few_products(const DirectWgradPlan& plan) {
  return plan.taps() * plan.filters() < kFewProducts;
}

// Where a 1x1 window reads each pixel once, the pixels of an image, or of all, are one long row.
Conv2dProblem with_joined_rows(Conv2dProblem p) {
  if (p.R != 1 || p.S != 1 || p.stride.h != 1 || p.stride.w != 1) return p;
  if (p.H != p.P || p.W != p.Q || p.pad.h != 0 || p.pad.w != 0) return p;
  if (p.input.h != p.W * p.input.w || p.output.h != p.Q * p.output.w) return p;
  p.W = p.Q = p.H * p.W;
  p.H = p.P = 1;
  if (p.input.n != p.W * p.input.w || p.output.n != p.Q * p.output.w) return p;
  p.W = p.Q = p.N * p.W;
  p.N = 1;
  return p;
}

// Vectors of products for one pixel, by either choice of rows. Tiles of fewer rows wait for their
// loads.
constexpr int64_t kLeastRows = 8;

int64_t products_by_filters(const DirectWgradPlan& plan) {
  return plan.taps() * ceil_div(plan.channels(), plan.lanes) * std::max(plan.filters(), kLeastRows);
}
int64_t products_by_channels(const DirectWgradPlan& plan) {
  const Conv2dProblem& p = plan.p;
  const int64_t run = p.dilation.w == 1 ? p.S : 1;
  return p.R * (p.S / run) * ceil_div(plan.filters(), plan.lanes) *
         std::max(run * plan.channels(), kLeastRows);
}

// Sums with channels as rows are turned round in the end: not for a few lanes in a hundred.
bool channels_pay_as_rows(const DirectWgradPlan& plan) {
  return products_by_channels(plan) * 10 < products_by_filters(plan) * 9;
}

void choose_operands(DirectWgradPlan& plan, Isa isa) {
  const Conv2dProblem& p = plan.p;
  plan.input_inner = channels_inner(p.input, plan.channels(), p.W);
  plan.grad_inner = channels_inner(p.output, plan.filters(), p.Q);
  plan.channels_are_rows = channels_pay_as_rows(plan);
  const bool grad_pays = plan.taps() * plan.channels() >= kProductsOfACopy;
  if (plan.channels_are_rows) {
    plan.run = p.dilation.w == 1 ? p.S : 1;
    const bool inside = p.pad.w == 0 && (p.Q - 1) * p.stride.w + p.S <= p.W;
    plan.copies_rows =
        !plan.input_inner || (plan.run > 1 && !(inside && p.input.w == plan.channels()));
    plan.copies_vectors = grad_pays || !plan.grad_inner || plan.filters() % plan.lanes != 0;
  } else {
    plan.run = 1;
    plan.rows_in_planes = !plan.grad_inner && (p.output.w == 1 || p.Q == 1);
    const bool grad_dense = plan.taps() * p.output.w < kFewProducts;
    plan.copies_rows = plan.rows_in_planes
                           ? !rows_share_l1<float>(blocking_for(isa).tile_rows, p.output.c)
                           : !plan.grad_inner || (grad_pays && !grad_dense);
    plan.copies_vectors =
        !few_products(plan) || !plan.input_inner || plan.channels() % plan.lanes != 0;
  }
}

// Beside the products: micro-operations for a pixel, of all tiles. A broadcast for each row of a
// tile, a load for each vector, and the loop.
int64_t beside_products(const DirectWgradPlan& plan, Isa isa, int tile_vectors) {
  constexpr int64_t kLoop = 8;
  const int64_t filters = plan.filters(), vectors = ceil_div(plan.channels(), plan.lanes);
  const int64_t down = ceil_div(filters, int64_t{wgrad_tile_rows(isa, tile_vectors)});
  const int64_t across = ceil_div(vectors, int64_t{tile_vectors});
  return across * filters + down * vectors + kLoop * down * across;
}

// 16 filters are two tiles of 8 rows. With two vectors these wait for their instructions to be
// issued, 84 % of the peak; with three, 97 %. Where an element of the input has many products the
// panels of three vectors overflow L1 between one tap, or tile, and the next: up to 6 % slower.
//
// Of few filters, all take some channels while these are in L1: 4 % at 64 to 192 of 1x1. Of more it
// is the filters that stay, lest each tile write to other pages than the last: 8 % of 3x3 with 256.
void choose_tile(DirectWgradPlan& plan, Isa isa) {
  const int of_gemm = blocking_for(isa).tile_vectors, most = wgrad_tile_vectors(isa);
  const bool wide = !plan.channels_are_rows && few_products(plan) &&
                    beside_products(plan, isa, most) < beside_products(plan, isa, of_gemm);
  plan.tiles_together = few_products(plan);
  plan.tile_vectors = wide ? most : of_gemm;
  plan.tile_rows = wgrad_tile_rows(isa, static_cast<int>(plan.tile_vectors));
  plan.tile_columns = plan.lanes * plan.tile_vectors;
}

void cut_pixels(DirectWgradPlan& plan) {
  constexpr int64_t kMostParts = 16;
  constexpr int64_t kLeastChunks = 64;
  constexpr int64_t kMostElements = int64_t{1} << 20;
  const Conv2dProblem& p = plan.p;
  const int64_t plane = p.P * p.Q;
  plan.columns = Cuts(EvenParts::at_most(p.Q, kLongestSum, 1));
  plan.rows = Cuts(EvenParts::at_most(p.P, std::max<int64_t>(1, kLongestSum / p.Q), 1));
  plan.images = Cuts(EvenParts::at_most(p.N, std::max<int64_t>(1, kLongestSum / plane), 1));
  // Small weights leave too few blocks to share among threads, so the pixels are shared too.
  const int64_t weight = p.K * plan.taps() * round_up(plan.channels(), plan.lanes);
  plan.parts = std::max<int64_t>(
      1, std::min({kMostParts, plan.chunks() / kLeastChunks, kMostElements / weight}));
}

void cut_weight(DirectWgradPlan& plan, int threads) {
  const int64_t unit = plan.half_panels() ? plan.tile_rows : 1;
  const int64_t room = kBlockBytes / int64_t{sizeof(float)};
  if (plan.channels_are_rows) {
    plan.channel_blocks = EvenParts::at_most(plan.channels(), plan.channels(), 1);
    plan.filter_blocks = EvenParts::at_most(
        plan.filters(), std::max(plan.tile_columns, room / (plan.taps() * plan.channels())),
        plan.tile_columns);
  } else {
    const int64_t most_channels = plan.taps() == 1 ? kChannelsOf1x1 : kChannels;
    plan.channel_blocks = EvenParts::at_most(plan.channels(), most_channels, plan.tile_columns);
    const int64_t filter = plan.taps() * plan.channel_blocks.largest();
    plan.filter_blocks =
        EvenParts::at_most(plan.filters(), std::max(plan.tile_rows, room / filter), unit);
  }
  const int64_t tile = plan.channels_are_rows ? plan.tile_columns : plan.tile_rows;
  const int64_t most = ceil_div(plan.filters(), tile);
  while (plan.tasks() % threads != 0 && plan.tasks() < 4 * int64_t{threads} &&
         plan.filter_blocks.parts < most) {
    ++plan.filter_blocks.parts;
  }
  const int64_t most_filters = plan.filter_blocks.largest();
  plan.tile_filters = plan.half_panels()
                          ? plan.tile_rows
                          : ceil_div(most_filters, ceil_div(most_filters, plan.tile_rows));
}

// The copies for the largest band of so many chunks.
void size_slabs(DirectWgradPlan& plan, int64_t chunks) {
  plan.chunks_a_band = chunks;
  const int64_t row_groups = std::max<int64_t>(1, chunks / plan.columns.parts);
  const int64_t pieces = std::min(chunks, plan.columns.parts);
  const PixelBox box{{0, plan.images.largest()},
                     {0, std::min(plan.p.P, row_groups * plan.rows.largest())},
                     {0, std::min(plan.p.Q, pieces * plan.columns.largest())}};
  const int64_t filters = plan.filter_blocks.largest();
  const int64_t channels = plan.channel_blocks.largest();
  PixelBox input = plan.reach(box);
  if (plan.run == 1) {
    // Copies then leave out the padding.
    input.rows.size = std::min(input.rows.size, plan.p.H);
    input.columns.size = std::min(input.columns.size, plan.p.W);
  }
  if (plan.channels_are_rows) {
    // Whole vectors are stored.
    plan.input_slab = plan.copies_rows ? slab_panel_stride(input, channels) + plan.lanes : 0;
    plan.grad_slab = plan.copies_vectors ? ceil_div(filters, plan.tile_columns) *
                                               slab_panel_stride(box, plan.tile_columns)
                                         : 0;
  } else {
    plan.input_slab = plan.copies_vectors ? ceil_div(channels, plan.tile_columns) *
                                                slab_panel_stride(input, plan.tile_columns)
                                          : 0;
    plan.grad_slab = plan.copies_rows ? ceil_div(filters, plan.panel_filters()) *
                                            slab_panel_stride(box, plan.row_panel())
                                      : 0;
  }
}

bool slabs_fit(const DirectWgradPlan& plan, int64_t bytes) {
  return std::max(plan.input_slab, plan.grad_slab) <= bytes / int64_t{sizeof(float)};
}

void choose_bands(DirectWgradPlan& plan) {
  const int64_t a_row = plan.columns.parts, an_image = a_row * plan.rows.parts;
  int64_t best = 1;
  if (plan.copies_rows || plan.copies_vectors) {
    for (int64_t chunks = 1; chunks <= an_image; chunks *= 2) {
      if (chunks > a_row) chunks = chunks / a_row * a_row;
      size_slabs(plan, chunks);
      if (!slabs_fit(plan, kSlabBytes)) break;
      best = chunks;
    }
  }
  size_slabs(plan, best);
}

// Most images are one column of chunks, and those of 1x1 windows one row: no division, which takes
// 40 cycles. Of small chunks these were a tenth of the time.
int64_t quotient(int64_t a, int64_t b) {
  if (b == 1) return a;
  return a < b ? 0 : a / b;
}

// Of the padded images of a batch.
constexpr double kMostPixels = 1e12;

}  // namespace

Range inside(const Range& range, int64_t extent) {
  const int64_t begin = std::clamp<int64_t>(range.begin, 0, extent);
  return {begin, std::clamp<int64_t>(range.begin + range.size, 0, extent) - begin};
}

PixelBox DirectWgradPlan::chunk(int64_t index) const {
  const int64_t line = quotient(index, columns.parts), column = index - line * columns.parts;
  const int64_t image = quotient(line, rows.parts), row = line - image * rows.parts;
  return {{images.begin(image), images.size(image)},
          {rows.begin(row), rows.size(row)},
          {columns.begin(column), columns.size(column)}};
}

int64_t DirectWgradPlan::band_end(int64_t chunk, int64_t end) const {
  const int64_t a_row = columns.parts, an_image = a_row * rows.parts;
  const int64_t in_row = chunk - quotient(chunk, a_row) * a_row;
  int64_t most = chunks_a_band;
  if (most >= a_row && in_row == 0) {
    most = quotient(most, a_row) * a_row;
  } else {
    most = std::min(most, a_row - in_row);
  }
  return std::min({end, (quotient(chunk, an_image) + 1) * an_image, chunk + most});
}

PixelBox DirectWgradPlan::band(int64_t begin, int64_t end) const {
  PixelBox box = chunk(begin);
  if (end - begin == 1) return box;
  const PixelBox last = chunk(end - 1);
  if (quotient(begin, columns.parts) != quotient(end - 1, columns.parts)) {
    box.columns = {0, p.Q};
  } else {
    box.columns.size = last.columns.begin + last.columns.size - box.columns.begin;
  }
  box.rows.size = last.rows.begin + last.rows.size - box.rows.begin;
  return box;
}

PixelBox DirectWgradPlan::reach(const PixelBox& box) const {
  return {box.images,
          {box.rows.begin * p.stride.h - p.pad.h,
           (box.rows.size - 1) * p.stride.h + (p.R - 1) * p.dilation.h + 1},
          {box.columns.begin * p.stride.w - p.pad.w,
           (box.columns.size - 1) * p.stride.w + (p.S - 1) * p.dilation.w + 1}};
}

PixelBox DirectWgradPlan::copied_input(const PixelBox& pixels) const {
  PixelBox box = reach(pixels);
  if (run > 1) return box;
  box.rows = inside(box.rows, p.H);
  box.columns = inside(box.columns, p.W);
  return box;
}

Range pixels_inside(Range range, int64_t offset, int64_t stride, int64_t extent) {
  const int64_t begin = std::max(range.begin, first_reaching(0, stride, offset));
  const int64_t end = first_reaching(extent, stride, offset);
  return {begin, std::max<int64_t>(0, std::min(range.begin + range.size, end) - begin)};
}

const char* direct_wgrad_reject(const Conv2dProblem& p, Isa isa) {
  if (p.N == 0 || p.C == 0 || p.K == 0) return "is for tensors that are not empty";
  // In doubles, which do not overflow: a window, and all that the outputs read of the padded image,
  // whose part for a band of outputs is counted in int64 below.
  const double rows = static_cast<double>(p.R - 1) * static_cast<double>(p.dilation.h) + 1;
  const double columns = static_cast<double>(p.S - 1) * static_cast<double>(p.dilation.w) + 1;
  const double all_rows = static_cast<double>(p.P - 1) * static_cast<double>(p.stride.h) + rows;
  const double all_columns =
      static_cast<double>(p.Q - 1) * static_cast<double>(p.stride.w) + columns;
  if (rows * columns > static_cast<double>(kLargestSlab) ||
      static_cast<double>(p.N) * all_rows * all_columns > kMostPixels) {
    return "is for windows that fit in L2";
  }
  return slabs_fit(direct_wgrad_plan(p, isa, 1), kLargestSlab) ? nullptr
                                                               : "is for windows that fit in L2";
}

double direct_wgrad_vectors(const Conv2dProblem& p, int64_t lanes) {
  DirectWgradPlan plan{};
  plan.p = p;
  plan.lanes = lanes;
  const bool by_channels = channels_pay_as_rows(plan);
  const auto sum_inside = [](int64_t taps, int64_t pixels, int64_t dilation, int64_t pad,
                             int64_t stride, int64_t extent) {
    int64_t sum = 0;
    for (int64_t tap = 0; tap < taps; ++tap) {
      sum += pixels_inside({0, pixels}, tap * dilation - pad, stride, extent).size;
    }
    return static_cast<double>(sum);
  };
  const double rows = sum_inside(p.R, p.P, p.dilation.h, p.pad.h, p.stride.h, p.H);
  // Whole rows of the window are multiplied with the padding too.
  const double columns = by_channels && p.dilation.w == 1
                             ? static_cast<double>(p.S * p.Q)
                             : sum_inside(p.S, p.Q, p.dilation.w, p.pad.w, p.stride.w, p.W);
  const auto products =
      static_cast<double>(by_channels ? products_by_channels(plan) : products_by_filters(plan));
  return static_cast<double>(p.N) * rows * columns * products / static_cast<double>(plan.taps());
}

DirectWgradPlan direct_wgrad_plan(const Conv2dProblem& problem, Isa isa, int threads) {
  DirectWgradPlan plan{};
  plan.p = with_joined_rows(problem);
  plan.lanes = blocking_for(isa).vector_bytes / int64_t{sizeof(float)};
  choose_operands(plan, isa);
  choose_tile(plan, isa);
  cut_pixels(plan);
  cut_weight(plan, threads);
  choose_bands(plan);
  return plan;
}

}  // namespace fastconv::cpu
