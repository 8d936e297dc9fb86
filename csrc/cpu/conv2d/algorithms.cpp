// The dispatcher of conv2d: best first, the reference last. A new algorithm is a new file and a
// line here.
#include "cpu/conv2d/algorithms.h"

#include "cpu/conv2d/entries.h"

namespace fastconv::cpu {
namespace {

// One line for each algorithm, which clang-format would pack in columns.
// clang-format off
constexpr const Conv2dAlgorithm* kFprop[] = {
#if defined(__x86_64__)
    &conv2d_fprop_depthwise_avx512,
    &conv2d_fprop_depthwise_avx2,
#endif
    &conv2d_fprop_depthwise_scalar,
#if defined(__x86_64__)
    &conv2d_fprop_grouped_amx_bf16x1,
    &conv2d_fprop_amx_bf16x1,
    &conv2d_fprop_grouped_avx512_bf16x1,
    &conv2d_fprop_avx512_bf16x1,
    &conv2d_fprop_grouped_amx_bf16x3,
    &conv2d_fprop_winograd_f4_amx_bf16x3,
    &conv2d_fprop_winograd_f2_amx_bf16x3,
    &conv2d_fprop_amx_bf16x3,
    &conv2d_fprop_winograd_f4_amx_bf16x6,
    &conv2d_fprop_winograd_f2_amx_bf16x6,
    &conv2d_fprop_amx_bf16x6,
    &conv2d_fprop_grouped_avx512,
    &conv2d_fprop_grouped_avx2,
    &conv2d_fprop_winograd_f4_avx512,
    &conv2d_fprop_winograd_f2_avx512,
    &conv2d_fprop_winograd_f2_5x5_avx512,
    &conv2d_fprop_winograd_f4_avx2,
    &conv2d_fprop_winograd_f2_avx2,
    &conv2d_fprop_winograd_f2_5x5_avx2,
    &conv2d_fprop_dot_avx512,
    &conv2d_fprop_dot_avx2,
    &conv2d_fprop_im2col_gemm_avx512,
    &conv2d_fprop_im2col_gemm_avx2,
#endif
    &conv2d_fprop_im2col_gemm_scalar,
    &conv2d_fprop_reference,
};

constexpr const Conv2dAlgorithm* kDgrad[] = {
#if defined(__x86_64__)
    &conv2d_dgrad_depthwise_avx512,
    &conv2d_dgrad_depthwise_avx2,
#endif
    &conv2d_dgrad_depthwise_scalar,
#if defined(__x86_64__)
    &conv2d_dgrad_grouped_amx_bf16x1,
    &conv2d_dgrad_amx_bf16x1,
    &conv2d_dgrad_grouped_avx512_bf16x1,
    &conv2d_dgrad_avx512_bf16x1,
    &conv2d_dgrad_grouped_amx_bf16x3,
    &conv2d_dgrad_winograd_f4_amx_bf16x3,
    &conv2d_dgrad_winograd_f2_amx_bf16x3,
    &conv2d_dgrad_amx_bf16x3,
    &conv2d_dgrad_winograd_f4_amx_bf16x6,
    &conv2d_dgrad_winograd_f2_amx_bf16x6,
    &conv2d_dgrad_amx_bf16x6,
    &conv2d_dgrad_grouped_avx512,
    &conv2d_dgrad_grouped_avx2,
    &conv2d_dgrad_winograd_f4_avx512,
    &conv2d_dgrad_winograd_f2_avx512,
    &conv2d_dgrad_winograd_f2_5x5_avx512,
    &conv2d_dgrad_winograd_f4_avx2,
    &conv2d_dgrad_winograd_f2_avx2,
    &conv2d_dgrad_winograd_f2_5x5_avx2,
    &conv2d_dgrad_rows_avx512,
    &conv2d_dgrad_rows_avx2,
    &conv2d_dgrad_col2im_avx512,
    &conv2d_dgrad_col2im_avx2,
    &conv2d_dgrad_im2col_gemm_avx512,
    &conv2d_dgrad_im2col_gemm_avx2,
#endif
    &conv2d_dgrad_im2col_gemm_scalar,
    &conv2d_dgrad_reference,
};

constexpr const Conv2dAlgorithm* kWgrad[] = {
#if defined(__x86_64__)
    &conv2d_wgrad_depthwise_avx512,
    &conv2d_wgrad_depthwise_avx2,
#endif
    &conv2d_wgrad_depthwise_scalar,
#if defined(__x86_64__)
    &conv2d_wgrad_amx_bf16x1,
    &conv2d_wgrad_avx512_bf16x1,
    &conv2d_wgrad_amx_bf16x3,
    &conv2d_wgrad_amx_bf16x6,
    &conv2d_wgrad_grouped_avx512,
    &conv2d_wgrad_grouped_avx2,
    &conv2d_wgrad_winograd_f4_avx512,
    &conv2d_wgrad_winograd_f2_avx512,
    &conv2d_wgrad_winograd_f2_5x5_avx512,
    &conv2d_wgrad_direct_avx512,
    &conv2d_wgrad_winograd_f4_avx2,
    &conv2d_wgrad_winograd_f2_avx2,
    &conv2d_wgrad_winograd_f2_5x5_avx2,
    &conv2d_wgrad_direct_avx2,
    &conv2d_wgrad_im2col_gemm_avx512,
    &conv2d_wgrad_im2col_gemm_avx2,
#endif
    &conv2d_wgrad_im2col_gemm_scalar,
    &conv2d_wgrad_reference,
};
// clang-format on

}  // namespace

Conv2dList conv2d_fprop_algorithms() { return kFprop; }
Conv2dList conv2d_dgrad_algorithms() { return kDgrad; }
Conv2dList conv2d_wgrad_algorithms() { return kWgrad; }

}  // namespace fastconv::cpu
