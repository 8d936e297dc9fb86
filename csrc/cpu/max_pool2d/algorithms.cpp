// The dispatcher of max_pool2d: best first, the reference last. A new algorithm is a new file and a
// line here.
#include "cpu/max_pool2d/algorithms.h"

#include "cpu/max_pool2d/entries.h"

namespace fastconv::cpu {
namespace {

// One line for each algorithm, which clang-format would pack in columns.
// clang-format off
constexpr const MaxPool2dAlgorithm* kForward[] = {
#if defined(__x86_64__)
    &max_pool2d_forward_rows_avx512,
    &max_pool2d_forward_channels_avx512,
    &max_pool2d_forward_rows_avx2,
    &max_pool2d_forward_channels_avx2,
#endif
    &max_pool2d_forward_rows_scalar,
    &max_pool2d_forward_channels_scalar,
    &max_pool2d_forward_reference,
};

constexpr const MaxPool2dAlgorithm* kBackward[] = {
#if defined(__x86_64__)
    &max_pool2d_backward_disjoint_pairs_avx512,
    &max_pool2d_backward_disjoint_channels_avx512,
    &max_pool2d_backward_scatter_avx512,
    &max_pool2d_backward_disjoint_pairs_avx2,
    &max_pool2d_backward_disjoint_channels_avx2,
    &max_pool2d_backward_scatter_avx2,
#endif
    &max_pool2d_backward_scatter_scalar,
    &max_pool2d_backward_reference,
};
// clang-format on

}  // namespace

MaxPool2dList max_pool2d_forward_algorithms() { return kForward; }
MaxPool2dList max_pool2d_backward_algorithms() { return kBackward; }

}  // namespace fastconv::cpu
