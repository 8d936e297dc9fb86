// Depthwise convolution in AVX2 with FMA.
#if defined(__x86_64__)
// GCC 12 takes the "undefined" operands inside its own intrinsics for a fault (its bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <type_traits>
#include <utility>

#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/depthwise_geometry.h"
#include "cpu/conv2d/depthwise_special.h"
#include "cpu/conv2d/entries.h"
#include "cpu/dispatch_dtype.h"
#include "cpu/dtype.h"
#include "cpu/gemm/blocking.h"
#include "cpu/workspace.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")

#include "cpu/conv2d/depthwise_vectors_avx2.h"
#include "cpu/gemm/vector_avx2.h"
// After the vectors.
#include "cpu/conv2d/depthwise_entries.h"

namespace fastconv::cpu {
namespace {

struct Avx2Vectors {
  using Squares = Avx2;
  template <class T>
  using Of = std::conditional_t<std::is_same_v<T, double>, Avx2Double, Avx2Float>;
};

using Kernels = Depthwise<Avx2Vectors>;

}  // namespace

const Conv2dAlgorithm conv2d_fprop_depthwise_avx2 =
    Kernels::fprop_entry<Isa::avx2>("conv2d_fprop_depthwise_avx2");
const Conv2dAlgorithm conv2d_dgrad_depthwise_avx2 =
    Kernels::dgrad_entry("conv2d_dgrad_depthwise_avx2", Isa::avx2);
const Conv2dAlgorithm conv2d_wgrad_depthwise_avx2 =
    Kernels::wgrad_entry("conv2d_wgrad_depthwise_avx2", Isa::avx2);

}  // namespace fastconv::cpu

#pragma GCC pop_options
#endif
