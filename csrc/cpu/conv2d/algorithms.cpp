// The dispatcher of conv2d: best first, the reference last. A new algorithm is a new file and a
// line here.
#include "cpu/conv2d/algorithms.h"

#include "cpu/conv2d/entries.h"

namespace fastconv::cpu {
namespace {

constexpr const Conv2dAlgorithm* kFprop[] = {
    &conv2d_fprop_reference,
};

constexpr const Conv2dAlgorithm* kDgrad[] = {
    &conv2d_dgrad_reference,
};

constexpr const Conv2dAlgorithm* kWgrad[] = {
    &conv2d_wgrad_reference,
};

}  // namespace

Conv2dList conv2d_fprop_algorithms() { return kFprop; }
Conv2dList conv2d_dgrad_algorithms() { return kDgrad; }
Conv2dList conv2d_wgrad_algorithms() { return kWgrad; }

}  // namespace fastconv::cpu
