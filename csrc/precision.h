// torch's fp32_precision switch, which is a fact of the Python side and not in the stable ABI.
#pragma once

#include "problem.h"

namespace fastconv {

// torch.backends.<backend>.conv.fp32_precision, the general switches behind it included; none where
// no Python runs (AOTInductor packages in C++ programs).
Precision conv_fp32_precision(const char* backend);

}  // namespace fastconv
