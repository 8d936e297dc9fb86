// Max pooling in AVX-512. The pragma stands below every header that other files use too,
// and what stands below it is in anonymous namespaces, so that no AVX-512 code can be linked into
// the baseline.
#if defined(__x86_64__)

// GCC 12 takes the undefined operands inside its own AVX-512 intrinsics for a mistake of ours (GCC
// bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "cpu/dispatch_dtype.h"
#include "cpu/max_pool2d/entries.h"
#include "cpu/max_pool2d/tasks.h"
#include "cpu/max_pool2d/window.h"
#include "cpu/workspace.h"

#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")

#include "cpu/max_pool2d/backward_disjoint.h"
#include "cpu/max_pool2d/backward_scatter.h"
#include "cpu/max_pool2d/forward_channels.h"
#include "cpu/max_pool2d/forward_rows.h"
#include "cpu/max_pool2d/vectors_avx512.h"

namespace fastconv::cpu {

const MaxPool2dAlgorithm max_pool2d_forward_rows_avx512 =
    forward_rows_algorithm<Avx512Vectors>("max_pool2d_forward_rows_avx512");
const MaxPool2dAlgorithm max_pool2d_forward_channels_avx512 =
    forward_channels_algorithm<Avx512Vectors>("max_pool2d_forward_channels_avx512");
const MaxPool2dAlgorithm max_pool2d_backward_disjoint_pairs_avx512 =
    backward_disjoint_pairs_algorithm<Avx512Vectors>("max_pool2d_backward_disjoint_pairs_avx512");
const MaxPool2dAlgorithm max_pool2d_backward_disjoint_channels_avx512 =
    backward_disjoint_channels_algorithm<Avx512Vectors>(
        "max_pool2d_backward_disjoint_channels_avx512");
const MaxPool2dAlgorithm max_pool2d_backward_scatter_avx512 =
    backward_scatter_algorithm<Avx512Vectors>("max_pool2d_backward_scatter_avx512");

}  // namespace fastconv::cpu

#endif
