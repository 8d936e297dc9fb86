// Winograd's convolution for AVX-512; im2col_gemm_avx512.cpp says why the includes lie as they do.
#if defined(__x86_64__)
// GCC 12 warns of the deliberately undefined operands inside its own header (bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "cpu/conv2d/cost.h"
#include "cpu/conv2d/direct_wgrad_ahead.h"
#include "cpu/conv2d/entries.h"
#include "cpu/conv2d/winograd_plan.h"
#include "cpu/conv2d/worker_pool.h"
#include "cpu/dispatch_dtype.h"
#include "cpu/gemm/blocking.h"
#include "cpu/workspace.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c,avx2")
#include "cpu/gemm/vector_avx512.h"
// After the vectors.
#include "cpu/conv2d/winograd.h"
#include "cpu/conv2d/winograd_wgrad.h"

namespace fastconv::cpu {
namespace {

struct Direct {
  static const Conv2dAlgorithm& fprop() { return conv2d_fprop_im2col_gemm_avx512; }
  static const Conv2dAlgorithm& dgrad() { return conv2d_dgrad_im2col_gemm_avx512; }
  static const Conv2dAlgorithm& wgrad(const Conv2dProblem& p) {
    const Conv2dAlgorithm& direct = conv2d_wgrad_direct_avx512;
    return direct.reject(p) == nullptr ? direct : conv2d_wgrad_im2col_gemm_avx512;
  }
};
using F2 = WinogradAlgorithm<WinogradFloats<Avx512>, WinogradF2, Direct>;
using F4 = WinogradAlgorithm<WinogradFloats<Avx512>, WinogradF4, Direct>;
using F2Of5 = WinogradAlgorithm<WinogradFloats<Avx512>, WinogradF2Of5, Direct>;
using F2Wgrad = WinogradWgradAlgorithm<Avx512, WinogradF2, Direct>;
using F4Wgrad = WinogradWgradAlgorithm<Avx512, WinogradF4, Direct>;
using F2Of5Wgrad = WinogradWgradAlgorithm<Avx512, WinogradF2Of5, Direct>;

}  // namespace

const Conv2dAlgorithm conv2d_fprop_winograd_f4_avx512 =
    F4::fprop_algorithm("conv2d_fprop_winograd_f4_avx512");
const Conv2dAlgorithm conv2d_fprop_winograd_f2_avx512 =
    F2::fprop_algorithm("conv2d_fprop_winograd_f2_avx512");
const Conv2dAlgorithm conv2d_fprop_winograd_f2_5x5_avx512 =
    F2Of5::fprop_algorithm("conv2d_fprop_winograd_f2_5x5_avx512");
const Conv2dAlgorithm conv2d_dgrad_winograd_f4_avx512 =
    F4::dgrad_algorithm("conv2d_dgrad_winograd_f4_avx512");
const Conv2dAlgorithm conv2d_dgrad_winograd_f2_avx512 =
    F2::dgrad_algorithm("conv2d_dgrad_winograd_f2_avx512");
const Conv2dAlgorithm conv2d_dgrad_winograd_f2_5x5_avx512 =
    F2Of5::dgrad_algorithm("conv2d_dgrad_winograd_f2_5x5_avx512");
const Conv2dAlgorithm conv2d_wgrad_winograd_f4_avx512 =
    F4Wgrad::algorithm("conv2d_wgrad_winograd_f4_avx512");
const Conv2dAlgorithm conv2d_wgrad_winograd_f2_avx512 =
    F2Wgrad::algorithm("conv2d_wgrad_winograd_f2_avx512");
const Conv2dAlgorithm conv2d_wgrad_winograd_f2_5x5_avx512 =
    F2Of5Wgrad::algorithm("conv2d_wgrad_winograd_f2_5x5_avx512");

}  // namespace fastconv::cpu
#pragma GCC pop_options
#endif  // __x86_64__
