// Whether the operands of a convolution are such that bfloat16 terms serve them. To be included
// under the AVX-512 pragma.
#pragma once

#include "cpu/amx/magnitude.h"
#include "problem.h"

namespace fastconv::cpu {
namespace {

template <class T>
Magnitudes input_magnitudes(const Conv2dProblem& p, const void* input, const Parallel& parallel) {
  return magnitudes(static_cast<const T*>(input),
                    {{p.N, p.input.n}, {p.C, p.input.c}, {p.H, p.input.h}, {p.W, p.input.w}},
                    parallel);
}

template <class T>
Magnitudes weight_magnitudes(const Conv2dProblem& p, const void* weight, const Parallel& parallel) {
  return magnitudes(static_cast<const T*>(weight),
                    {{p.K, p.weight.n},
                     {p.group_in_channels(), p.weight.c},
                     {p.R, p.weight.h},
                     {p.S, p.weight.w}},
                    parallel);
}

template <class T>
Magnitudes output_magnitudes(const Conv2dProblem& p, const void* output, const Parallel& parallel) {
  return magnitudes(static_cast<const T*>(output),
                    {{p.N, p.output.n}, {p.K, p.output.c}, {p.P, p.output.h}, {p.Q, p.output.w}},
                    parallel);
}

// Why terms so few are not for a problem, or nullptr.
template <int kTerms>
const char* reject_terms(const Conv2dProblem& p) {
  if (p.dtype != DType::f32 || kTerms == 3 || p.precision == Precision::bf16) return nullptr;
  if (kTerms == 2 && p.precision == Precision::tf32) return nullptr;
  return "less exact than the fp32_precision in force allows";
}

// Whether terms serve a product of whose operands one is known: multiply() forms it and returns its
// largest sum, which mostly says so without a look at the other operand, magnitudes_of_other().
// (That look took 3 to 30 % of the time of 1x1 convolutions.) Where terms do not serve, what was
// formed is worthless.
template <class Multiply, class Other>
bool multiply_in_terms(const Magnitudes& known, int64_t depth, const Multiply& multiply,
                       const Other& magnitudes_of_other) {
  if (!terms_may_serve(known.largest)) return false;
  const uint32_t largest_sum = multiply();
  if (sum_vouches(largest_sum, known, depth)) return true;
  const Magnitudes other = magnitudes_of_other();
  return terms_serve(other.largest, known.largest, depth) &&
         flushes_vanish(known.smallest, other.largest, largest_sum, depth) &&
         flushes_vanish(other.smallest, known.largest, largest_sum, depth);
}

}  // namespace
}  // namespace fastconv::cpu
