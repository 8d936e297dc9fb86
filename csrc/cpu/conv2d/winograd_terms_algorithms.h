// Winograd's convolution on AMX tiles as algorithms, for one number of bfloat16 terms. To be
// included under the AVX-512 pragma, last.
#pragma once

#include "cpu/amx/winograd_terms.h"
#include "cpu/conv2d/entries.h"
#include "cpu/conv2d/winograd.h"

namespace fastconv::cpu {

// Tiles: AmxTiles or what emulates them.
template <class Tiles, int kTerms>
struct WinogradOfTerms {
  struct Elsewhere {
    static const Conv2dAlgorithm& fprop() { return conv2d_fprop_im2col_gemm_avx512; }
    static const Conv2dAlgorithm& dgrad() { return conv2d_dgrad_im2col_gemm_avx512; }
  };
  using Between = WinogradTerms<AmxTarget<Tiles, kTerms, kTerms == 3 ? 6 : 3>>;
  using F2 = WinogradAlgorithm<Between, WinogradF2, Elsewhere>;
  using F4 = WinogradAlgorithm<Between, WinogradF4, Elsewhere>;
};

}  // namespace fastconv::cpu
