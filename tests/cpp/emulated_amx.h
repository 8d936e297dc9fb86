// The AMX convolutions on emulated tiles: cpu/conv2d/amx_convolution.h as it is shipped, in a
// library of the tests' own, for CPUs with AVX-512 and no AMX.
#pragma once

#include "cpu/conv2d/algorithms.h"

namespace fastconv::test {

// For 1, 2 and 3 bfloat16 terms: 1, 3 and 6 products.
cpu::Conv2dList emulated_amx_fprop();
cpu::Conv2dList emulated_amx_dgrad();
cpu::Conv2dList emulated_amx_wgrad();

// One emulated TDPBF16PS on 16 x 16 floats and 16 x 32 bfloat16 each.
void emulated_tile_product(float* c, const uint16_t* a, const uint16_t* b);

}  // namespace fastconv::test
