// Every max_pool2d algorithm by the name of its entry; each is defined in the file that implements
// it.
#pragma once

#include "cpu/max_pool2d/algorithms.h"

namespace fastconv::cpu {

extern const MaxPool2dAlgorithm max_pool2d_forward_reference;
extern const MaxPool2dAlgorithm max_pool2d_forward_rows_scalar;
extern const MaxPool2dAlgorithm max_pool2d_forward_channels_scalar;

extern const MaxPool2dAlgorithm max_pool2d_backward_scatter_scalar;
extern const MaxPool2dAlgorithm max_pool2d_backward_reference;

#if defined(__x86_64__)
extern const MaxPool2dAlgorithm max_pool2d_forward_rows_avx2;
extern const MaxPool2dAlgorithm max_pool2d_forward_rows_avx512;
extern const MaxPool2dAlgorithm max_pool2d_forward_channels_avx2;
extern const MaxPool2dAlgorithm max_pool2d_forward_channels_avx512;
extern const MaxPool2dAlgorithm max_pool2d_backward_disjoint_pairs_avx2;
extern const MaxPool2dAlgorithm max_pool2d_backward_disjoint_channels_avx2;
extern const MaxPool2dAlgorithm max_pool2d_backward_scatter_avx2;
extern const MaxPool2dAlgorithm max_pool2d_backward_disjoint_pairs_avx512;
extern const MaxPool2dAlgorithm max_pool2d_backward_disjoint_channels_avx512;
extern const MaxPool2dAlgorithm max_pool2d_backward_scatter_avx512;
#endif

}  // namespace fastconv::cpu
