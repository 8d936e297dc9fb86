#include "cpu/conv2d/zero_borders.h"

#include <algorithm>
#include <cstring>

#include "cpu/conv2d/inside_taps.h"

namespace fastconv::cpu {
namespace {

constexpr int64_t kShareOfL2 = 512 * 1024;

double as_double(int64_t x) { return static_cast<double>(x); }

}  // namespace

ZeroBorders::Border ZeroBorders::Border::of(const Taps& taps, int64_t step, int64_t grid,
                                            int64_t extent) {
  const Reach reach = reach_of(taps);
  const int64_t last = (grid - 1) * step + reach.high;
  return {std::max<int64_t>(-reach.low, 0), std::max<int64_t>(last - (extent - 1), 0),
          std::min(first_reaching(0, step, reach.low), grid),
          grid - std::min(first_reaching(extent, step, reach.high), grid)};
}

ZeroBorders::ZeroBorders(const Gather& g, int64_t tile_rows, int64_t element_bytes)
    : original_(g.x), bordered_(g.x), element_bytes_(element_bytes) {
  const Im2col& m = original_;
  if (g.pixels_are_columns || !g.x_channels_inner || g.filters == 0) return;
  if (m.pixels() == 0 || m.taps() < 2) return;
  // Measured with 32 to 320 filters on 7 x 7 to 56 x 56 pixels. A tile ends with its line: those of
  // 7 pixels took 1.08 times as long as packed ones of 13. Of 256 filters packing takes so little
  // that it is 1.03 times as fast; of 128 and less 0.80 to 0.98 times.
  constexpr int64_t kMostFilters = 128;
  const int64_t tiles = ceil_div(m.grid_w, tile_rows);
  if (3 * m.grid_w < 2 * tiles * tile_rows || g.filters > kMostFilters) return;
  const int64_t pixel_bytes = m.channels * element_bytes;
  if (m.step.w > kShareOfL2 || !rows_share_l1<std::byte>(tile_rows, m.step.w * pixel_bytes)) return;
  const Border rows = Border::of(m.rows, m.step.h, m.grid_h, m.height);
  const Border columns = Border::of(m.columns, m.step.w, m.grid_w, m.width);
  // Lines that read nothing but zeros are not worth the trouble.
  if (rows.before >= span() || rows.after >= span()) return;

  const double row_elements =
      (as_double(columns.before) + as_double(m.width) + as_double(columns.after)) *
      as_double(m.channels);
  const double row_bytes = row_elements * as_double(element_bytes);
  if (as_double(span()) * row_bytes > kShareOfL2) return;
  // From line to line, those between two images too: all rows of an image belong to its lines.
  const double height = as_double(rows.before) + as_double(m.height) + as_double(rows.after);
  const double advance = m.images > 1 ? std::max(height / as_double(m.grid_h), as_double(m.step.h))
                                      : as_double(m.step.h);
  const double room = kShareOfL2 / row_bytes - as_double(span());
  const double most_lines = std::min(1 + room / advance, as_double(m.images) * as_double(m.grid_h));
  most_lines_ = static_cast<int64_t>(most_lines);
  before_ = {rows.before, columns.before};
  bordered_.height = rows.before + m.height + rows.after;
  bordered_.width = columns.before + m.width + columns.after;
  bordered_.rows.offset += rows.before;
  bordered_.columns.offset += columns.before;
  const int64_t row = bordered_.width * m.channels;
  bordered_.strides = {bordered_.height * row, 1, row, m.channels};
  bordered_.channel_innermost = true;

  // Every block of C copies for itself.
  const double filters = as_double(g.filters);
  const double lines = std::clamp(
      as_double(kBlockOfCBytes / element_bytes) / filters / as_double(m.grid_w), 1.0, most_lines);
  const double rows_a_line = ((lines - 1) * advance + as_double(span())) / lines;
  copied_ = as_double(m.images) * as_double(m.grid_h) * rows_a_line * row_elements;

  // The tiles that reach outside.
  const int64_t width = m.grid_w / tiles;
  const int64_t tiles_inside =
      tiles - ceil_div(columns.pixels_before, width) - ceil_div(columns.pixels_after, width);
  const int64_t lines_inside = m.grid_h - rows.pixels_before - rows.pixels_after;
  const double inside = as_double(std::max<int64_t>(tiles_inside, 0)) / as_double(tiles) *
                        as_double(std::max<int64_t>(lines_inside, 0)) / as_double(m.grid_h);
  const double packed = (1 - inside) * as_double(m.pixels()) * as_double(m.depth());
  // An element takes so many times as long to pack as to copy.
  constexpr double kPacking = 3;
  pay_ = copied_ < kPacking * packed;
}

int64_t ZeroBorders::span() const {
  const Reach reach = reach_of(original_.rows);
  return reach.high - reach.low + 1;
}

int64_t ZeroBorders::first_row(int64_t line) const {
  const Im2col& m = bordered_;
  return line / m.grid_h * m.height + line % m.grid_h * m.step.h + reach_of(m.rows).low;
}

int64_t ZeroBorders::elements(int64_t pixels) const {
  const Im2col& m = bordered_;
  const int64_t lines = pixels / m.grid_w;
  if (lines == 0) return 0;
  // From a line to the next in its image; a lone line's stride may be any number.
  const int64_t advance = m.grid_h > 1 ? m.step.h : m.height;
  const int64_t between_images = std::max<int64_t>(m.height - m.grid_h * advance, 0);
  const int64_t rows =
      (lines - 1) * advance + ceil_div(lines - 1, m.grid_h) * between_images + span();
  return rows * m.strides.h;
}

int64_t ZeroBorders::copy(const std::byte* from, Range pixels, std::byte* to) const {
  const Im2col& m = bordered_;
  const int64_t line = pixels.begin / m.grid_w, lines = pixels.size / m.grid_w;
  const int64_t first = first_row(line), last = first_row(line + lines - 1) + span();
  for (int64_t row = first; row < last; ++row, to += m.strides.h * element_bytes_) {
    copy_row(from, row, to);
  }
  return first * m.strides.h;
}

void ZeroBorders::copy_row(const std::byte* from, int64_t row, std::byte* to) const {
  const Im2col& m = original_;
  const int64_t image = row / bordered_.height, h = row % bordered_.height - before_.h;
  const int64_t bytes = bordered_.strides.h * element_bytes_;
  if (h < 0 || h >= m.height) {
    std::memset(to, 0, bytes);
    return;
  }
  const int64_t pixel = m.channels * element_bytes_, before = before_.w * pixel;
  std::memset(to, 0, before);
  to += before;
  from += (image * m.strides.n + h * m.strides.h) * element_bytes_;
  if (m.strides.w == m.channels) {
    std::memcpy(to, from, m.width * pixel);
  } else {
    for (int64_t w = 0; w < m.width; ++w) {
      std::memcpy(to + w * pixel, from + w * m.strides.w * element_bytes_, pixel);
    }
  }
  std::memset(to + m.width * pixel, 0, bytes - before - m.width * pixel);
}

}  // namespace fastconv::cpu
