// Every conv2d algorithm by the name of its entry; each is defined in the file that implements it.
#pragma once

#include "cpu/conv2d/algorithms.h"

namespace fastconv::cpu {

#if defined(__x86_64__)
extern const Conv2dAlgorithm conv2d_fprop_depthwise_avx512;
extern const Conv2dAlgorithm conv2d_dgrad_depthwise_avx512;
extern const Conv2dAlgorithm conv2d_wgrad_depthwise_avx512;
extern const Conv2dAlgorithm conv2d_fprop_depthwise_avx2;
extern const Conv2dAlgorithm conv2d_dgrad_depthwise_avx2;
extern const Conv2dAlgorithm conv2d_wgrad_depthwise_avx2;
#endif
extern const Conv2dAlgorithm conv2d_fprop_depthwise_scalar;
extern const Conv2dAlgorithm conv2d_dgrad_depthwise_scalar;
extern const Conv2dAlgorithm conv2d_wgrad_depthwise_scalar;

#if defined(__x86_64__)
extern const Conv2dAlgorithm conv2d_fprop_amx_bf16x1;
extern const Conv2dAlgorithm conv2d_dgrad_amx_bf16x1;
extern const Conv2dAlgorithm conv2d_wgrad_amx_bf16x1;
extern const Conv2dAlgorithm conv2d_fprop_amx_bf16x3;
extern const Conv2dAlgorithm conv2d_dgrad_amx_bf16x3;
extern const Conv2dAlgorithm conv2d_wgrad_amx_bf16x3;
extern const Conv2dAlgorithm conv2d_fprop_amx_bf16x6;
extern const Conv2dAlgorithm conv2d_dgrad_amx_bf16x6;
extern const Conv2dAlgorithm conv2d_wgrad_amx_bf16x6;
extern const Conv2dAlgorithm conv2d_fprop_grouped_avx512;
extern const Conv2dAlgorithm conv2d_dgrad_grouped_avx512;
extern const Conv2dAlgorithm conv2d_wgrad_grouped_avx512;
extern const Conv2dAlgorithm conv2d_fprop_winograd_f4_avx512;
extern const Conv2dAlgorithm conv2d_fprop_winograd_f2_avx512;
extern const Conv2dAlgorithm conv2d_dgrad_winograd_f4_avx512;
extern const Conv2dAlgorithm conv2d_dgrad_winograd_f2_avx512;
extern const Conv2dAlgorithm conv2d_fprop_im2col_gemm_avx512;
extern const Conv2dAlgorithm conv2d_dgrad_im2col_gemm_avx512;
extern const Conv2dAlgorithm conv2d_wgrad_winograd_f4_avx512;
extern const Conv2dAlgorithm conv2d_wgrad_winograd_f2_avx512;
extern const Conv2dAlgorithm conv2d_wgrad_direct_avx512;
extern const Conv2dAlgorithm conv2d_wgrad_im2col_gemm_avx512;
extern const Conv2dAlgorithm conv2d_fprop_grouped_avx2;
extern const Conv2dAlgorithm conv2d_dgrad_grouped_avx2;
extern const Conv2dAlgorithm conv2d_wgrad_grouped_avx2;
extern const Conv2dAlgorithm conv2d_fprop_winograd_f4_avx2;
extern const Conv2dAlgorithm conv2d_fprop_winograd_f2_avx2;
extern const Conv2dAlgorithm conv2d_dgrad_winograd_f4_avx2;
extern const Conv2dAlgorithm conv2d_dgrad_winograd_f2_avx2;
extern const Conv2dAlgorithm conv2d_fprop_im2col_gemm_avx2;
extern const Conv2dAlgorithm conv2d_dgrad_im2col_gemm_avx2;
extern const Conv2dAlgorithm conv2d_wgrad_winograd_f4_avx2;
extern const Conv2dAlgorithm conv2d_wgrad_winograd_f2_avx2;
extern const Conv2dAlgorithm conv2d_wgrad_direct_avx2;
extern const Conv2dAlgorithm conv2d_wgrad_im2col_gemm_avx2;
#endif
extern const Conv2dAlgorithm conv2d_fprop_im2col_gemm_scalar;
extern const Conv2dAlgorithm conv2d_dgrad_im2col_gemm_scalar;
extern const Conv2dAlgorithm conv2d_wgrad_im2col_gemm_scalar;

extern const Conv2dAlgorithm conv2d_fprop_reference;
extern const Conv2dAlgorithm conv2d_dgrad_reference;
extern const Conv2dAlgorithm conv2d_wgrad_reference;

}  // namespace fastconv::cpu
