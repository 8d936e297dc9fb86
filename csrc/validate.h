// The one validator of each operator family. It turns what a caller passed into a problem struct or
// throws std::runtime_error, in torch's words where torch has clear ones, before anything is
// allocated. Every operator comes through here, the raw backward ones too, and all arithmetic on a
// caller's numbers is checked for overflow.
#pragma once

#include <cstdint>
#include <span>

#include "problem.h"

namespace fastconv {

using Sizes = std::span<const int64_t>;

// Parameters as the operators receive them: one value or two (h, w); padding also takes four (top,
// bottom, left, right), which is how padding='same' with an odd total arrives.
struct Conv2dParams {
  Sizes stride, padding, dilation;
  int64_t groups;
};

// bias is null where there is none. input is [N, C, H, W] or [C, H, W], weight [K, C/groups, R, S];
// the strides of the problem are left zero for the caller to fill in.
Conv2dProblem conv2d_problem(DType dtype, Sizes input, Sizes weight, const Sizes* bias,
                             const Conv2dParams& params);

struct Pool2dParams {
  Sizes kernel_size;
  Sizes stride;  // empty: the same as kernel_size
  Sizes padding, dilation;
  bool ceil_mode;
};

Pool2dProblem max_pool2d_problem(DType dtype, Sizes input, const Pool2dParams& params);

// The problem of a pooling backward: indices name their window's source directly, so that only
// planes matter. `window`, the forward's parameters, may be null: the problem's are zero then.
Pool2dProblem max_pool2d_backward_problem(DType dtype, Sizes input, Sizes grad_output,
                                          Sizes indices, const Pool2dParams* window = nullptr);

// Throws where the gradient of the output of `problem` cannot have this shape. `batched` says
// whether the shape has a batch dimension.
void check_grad_output(const Conv2dProblem& problem, Sizes grad_output, bool batched);

}  // namespace fastconv
