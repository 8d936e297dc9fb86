// im2col + GEMM for any CPU.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/entries.h"
#include "cpu/conv2d/gather.h"
#include "cpu/conv2d/in_place_pixels.h"
#include "cpu/conv2d/inside_taps.h"
#include "cpu/conv2d/partition.h"
#include "cpu/conv2d/pixel_plan.h"
#include "cpu/conv2d/weight_gradient.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/conv2d/zero_fill.h"
#include "cpu/dispatch_dtype.h"
#include "cpu/gemm/blocking.h"
#include "cpu/gemm/vector_scalar.h"
#include "cpu/largest.h"
#include "cpu/workspace.h"
// After the vectors.
#include "cpu/conv2d/im2col_gemm.h"

namespace fastconv::cpu {

const Conv2dAlgorithm conv2d_fprop_im2col_gemm_scalar =
    Im2colGemm<Scalar>::fprop_algorithm("conv2d_fprop_im2col_gemm_scalar");
const Conv2dAlgorithm conv2d_dgrad_im2col_gemm_scalar =
    Im2colGemm<Scalar>::dgrad_algorithm("conv2d_dgrad_im2col_gemm_scalar");
const Conv2dAlgorithm conv2d_wgrad_im2col_gemm_scalar =
    Im2colGemm<Scalar>::wgrad_algorithm("conv2d_wgrad_im2col_gemm_scalar");

}  // namespace fastconv::cpu
