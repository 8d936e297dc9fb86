// Max pooling for any CPU: the vectorised kernels with vectors of one lane.
#include "cpu/max_pool2d/backward_scatter.h"
#include "cpu/max_pool2d/entries.h"
#include "cpu/max_pool2d/forward_channels.h"
#include "cpu/max_pool2d/forward_rows.h"
#include "cpu/max_pool2d/vectors_scalar.h"

namespace fastconv::cpu {

const MaxPool2dAlgorithm max_pool2d_forward_rows_scalar =
    forward_rows_algorithm<ScalarVectors>("max_pool2d_forward_rows_scalar");
const MaxPool2dAlgorithm max_pool2d_forward_channels_scalar =
    forward_channels_algorithm<ScalarVectors>("max_pool2d_forward_channels_scalar");
const MaxPool2dAlgorithm max_pool2d_backward_scatter_scalar =
    backward_scatter_algorithm<ScalarVectors>("max_pool2d_backward_scatter_scalar");

}  // namespace fastconv::cpu
