// The geometry that the validator computes, and that it lets nothing through that would overflow.
#include <array>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "harness.h"
#include "validate.h"

using namespace fastconv;
using fastconv::test::check;
using fastconv::test::message_of;

namespace {

using Values = std::vector<int64_t>;

Conv2dProblem conv(const Values& input, const Values& weight, const Values& stride,
                   const Values& padding, const Values& dilation, int64_t groups) {
  return conv2d_problem(DType::f32, input, weight, nullptr, {stride, padding, dilation, groups});
}

Pool2dProblem pool(const Values& input, const Values& kernel, const Values& stride,
                   const Values& padding, const Values& dilation, bool ceil_mode) {
  return max_pool2d_problem(DType::f32, input, {kernel, stride, padding, dilation, ceil_mode});
}

// The number of positions at which a window of taps * dilation fits, counted one by one.
int64_t count_positions(int64_t extent, int64_t taps, int64_t stride, int64_t pad,
                        int64_t dilation) {
  int64_t count = 0;
  for (int64_t start = -pad; start + (taps - 1) * dilation < extent + pad; start += stride) ++count;
  return count;
}

void check_refused(const Values& input, const Values& weight, const Values& stride,
                   const Values& padding, const Values& dilation, int64_t groups,
                   const char* expected) {
  const std::string message = message_of<std::runtime_error>(
      [&] { conv(input, weight, stride, padding, dilation, groups); });
  check(message.find(expected) != std::string::npos, "expected '", expected, "' in '", message,
        "'");
}

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

}  // namespace

FASTCONV_TEST(problem, conv2d_geometry) {
  for (int64_t extent = 1; extent <= 12; ++extent) {
    for (int64_t taps = 1; taps <= 4; ++taps) {
      for (int64_t stride = 1; stride <= 3; ++stride) {
        for (int64_t pad = 0; pad <= 2; ++pad) {
          for (int64_t dilation = 1; dilation <= 3; ++dilation) {
            const int64_t expected = count_positions(extent, taps, stride, pad, dilation);
            if (expected == 0) continue;
            const Conv2dProblem p =
                conv({2, 6, extent, 20}, {4, 3, taps, 1}, {stride, 1}, {pad, 0}, {dilation, 1}, 2);
            check(p.P == expected && p.Q == 20, "extent ", extent, " taps ", taps, " stride ",
                  stride, " pad ", pad, " dilation ", dilation, ": ", p.P, " for ", expected);
          }
        }
      }
    }
  }
}

FASTCONV_TEST(problem, conv2d_unbatched_and_same_padding) {
  const Conv2dProblem p = conv({3, 9, 9}, {5, 3, 4, 4}, {1}, {1, 2, 1, 2}, {1}, 1);
  check(p.N == 1 && p.C == 3 && p.P == 9 && p.Q == 9, "padding='same' with an even kernel");
  check(p.pad.h == 1 && p.pad.w == 1, "the extra row and column lie behind");
}

FASTCONV_TEST(problem, conv2d_refuses) {
  check_refused({1, 3, 8, 8}, {4, 3, 3, 3}, {0}, {0}, {1}, 1, "stride");
  check_refused({1, 3, 8, 8}, {4, 3, 3, 3}, {1}, {-1}, {1}, 1, "padding");
  check_refused({1, 3, 8, 8}, {4, 3, 3, 3}, {1}, {0}, {0}, 1, "dilation");
  check_refused({1, 3, 8, 8}, {4, 3, 3, 3}, {1}, {0}, {1}, 0, "groups");
  check_refused({1, 4, 8, 8}, {4, 3, 3, 3}, {1}, {0}, {1}, 1, "channels");
  check_refused({1, 3, 8, 8}, {4, 3, 9, 3}, {1}, {0}, {1}, 1, "Kernel size");
  check_refused({1, 3, 8, 8}, {4, 3, 3, 3}, {1}, {0}, {kHuge}, 1, "dilation");
  check_refused({1, 3, 8, 8}, {4, 3, 3, 3}, {1}, {kHuge / 2 + 1}, {1}, 1, "padding");
  check_refused({kHuge, kHuge, 8, 8}, {4, 3, 3, 3}, {1}, {0}, {1}, 1, "input");
}

FASTCONV_TEST(problem, max_pool2d_geometry) {
  for (int64_t extent = 1; extent <= 12; ++extent) {
    for (int64_t taps = 1; taps <= 4; ++taps) {
      for (int64_t stride = 1; stride <= 3; ++stride) {
        for (int64_t pad = 0; pad <= taps / 2; ++pad) {
          const int64_t whole = count_positions(extent, taps, stride, pad, 1);
          if (whole == 0) continue;
          // One more window in ceil_mode where one can start before the padding behind the plane
          // and covers what the others leave.
          const int64_t next = whole * stride - pad;
          const bool left_over = next - stride + taps < extent + pad;
          const int64_t rounded_up = whole + (left_over && next < extent ? 1 : 0);
          for (bool ceil_mode : {false, true}) {
            const int64_t expected = ceil_mode ? rounded_up : whole;
            const Pool2dProblem p =
                pool({2, 3, extent, 7}, {taps, 1}, {stride, 1}, {pad, 0}, {1}, ceil_mode);
            check(p.P == expected && p.Q == 7, "extent ", extent, " taps ", taps, " stride ",
                  stride, " pad ", pad, ceil_mode ? " ceil" : "", ": ", p.P, " for ", expected);
          }
        }
      }
    }
  }
}

FASTCONV_TEST(problem, max_pool2d_stride_defaults_to_the_kernel) {
  const Pool2dProblem p = pool({3, 10, 10}, {3, 2}, {}, {0}, {1}, false);
  check(p.stride.h == 3 && p.stride.w == 2 && p.P == 3 && p.Q == 5, "P ", p.P, " Q ", p.Q);
}

FASTCONV_TEST(problem, max_pool2d_refuses) {
  const auto refused = [](const Values& kernel, const Values& stride, const Values& padding,
                          const Values& dilation, const char* expected) {
    const std::string message = message_of<std::runtime_error>(
        [&] { pool({1, 3, 8, 8}, kernel, stride, padding, dilation, true); });
    check(message.find(expected) != std::string::npos, "expected '", expected, "' in '", message,
          "'");
  };
  refused({2}, {0}, {0}, {1}, "stride");
  refused({2}, {-1}, {0}, {1}, "stride");
  refused({2}, {2}, {2}, {1}, "pad should be");
  refused({2}, {2}, {0}, {0}, "dilation");
  refused({0}, {2}, {0}, {1}, "kernel");
  refused({3}, {1}, {0}, {kHuge}, "dilation");
  refused({kHuge}, {1}, {kHuge / 2}, {1}, "overflow");
}
