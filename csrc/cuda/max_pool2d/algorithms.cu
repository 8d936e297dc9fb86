// The dispatcher of max_pool2d on the GPU: best first, the most general last. A new algorithm is a
// new file and a line here.
#include "cuda/max_pool2d/entries.h"

namespace fastconv::cuda {
namespace {

constexpr const MaxPool2dAlgorithm* kForward[] = {
    &max_pool2d_forward_channels_last,
    &max_pool2d_forward_direct,
};

constexpr const MaxPool2dAlgorithm* kBackward[] = {
    &max_pool2d_backward_channels_last,
    &max_pool2d_backward_by_gather,
    &max_pool2d_backward_by_scatter,
};

}  // namespace

MaxPool2dList max_pool2d_forward_algorithms() { return kForward; }
MaxPool2dList max_pool2d_backward_algorithms() { return kBackward; }

}  // namespace fastconv::cuda
