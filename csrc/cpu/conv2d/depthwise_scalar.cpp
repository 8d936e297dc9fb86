// Depthwise convolution in the compiler's portable vectors.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <type_traits>
#include <utility>

#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/depthwise_entries.h"
#include "cpu/conv2d/depthwise_geometry.h"
#include "cpu/conv2d/depthwise_special.h"
#include "cpu/conv2d/depthwise_vectors_portable.h"
#include "cpu/conv2d/entries.h"
#include "cpu/dispatch_dtype.h"

namespace fastconv::cpu {
namespace {

struct PortableVectors {
  using Squares = void;
  template <class T>
  using Of = PortableVector<typename Storage<T>::Accumulator>;
};

using Kernels = Depthwise<PortableVectors>;

}  // namespace

const Conv2dAlgorithm conv2d_fprop_depthwise_scalar =
    Kernels::fprop_entry<Isa::scalar>("conv2d_fprop_depthwise_scalar");
const Conv2dAlgorithm conv2d_dgrad_depthwise_scalar =
    Kernels::dgrad_entry("conv2d_dgrad_depthwise_scalar", Isa::scalar);
const Conv2dAlgorithm conv2d_wgrad_depthwise_scalar =
    Kernels::wgrad_entry("conv2d_wgrad_depthwise_scalar", Isa::scalar);

}  // namespace fastconv::cpu
