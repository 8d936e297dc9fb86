// Every conv2d algorithm by the name of its entry; each is defined in the file that implements it.
#pragma once

#include "cpu/conv2d/algorithms.h"

namespace fastconv::cpu {

extern const Conv2dAlgorithm conv2d_fprop_reference;
extern const Conv2dAlgorithm conv2d_dgrad_reference;
extern const Conv2dAlgorithm conv2d_wgrad_reference;

}  // namespace fastconv::cpu
