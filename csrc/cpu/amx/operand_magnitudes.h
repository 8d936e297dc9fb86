// Whether the operands of a convolution are such that bfloat16 terms serve them. To be included
// under the AVX-512 pragma.
#pragma once

#include "cpu/amx/magnitude.h"
#include "problem.h"

namespace fastconv::cpu {
namespace {

template <class T>
uint32_t input_magnitude(const Conv2dProblem& p, const void* input, const Parallel& parallel) {
  return largest_magnitude(static_cast<const T*>(input),
                           {{p.N, p.input.n}, {p.C, p.input.c}, {p.H, p.input.h}, {p.W, p.input.w}},
                           parallel);
}

template <class T>
uint32_t weight_magnitude(const Conv2dProblem& p, const void* weight, const Parallel& parallel) {
  return largest_magnitude(static_cast<const T*>(weight),
                           {{p.K, p.weight.n},
                            {p.group_in_channels(), p.weight.c},
                            {p.R, p.weight.h},
                            {p.S, p.weight.w}},
                           parallel);
}

template <class T>
uint32_t output_magnitude(const Conv2dProblem& p, const void* output, const Parallel& parallel) {
  return largest_magnitude(
      static_cast<const T*>(output),
      {{p.N, p.output.n}, {p.K, p.output.c}, {p.P, p.output.h}, {p.Q, p.output.w}}, parallel);
}

// Why terms so few are not for a problem, or nullptr.
template <int kTerms>
const char* reject_terms(const Conv2dProblem& p) {
  if (p.dtype != DType::f32 || kTerms == 3 || p.precision == Precision::bf16) return nullptr;
  if (kTerms == 2 && p.precision == Precision::tf32) return nullptr;
  return "less exact than the fp32_precision in force allows";
}

// largest_of_weight: where it is known already.
template <class T>
bool terms_serve_fprop(const Conv2dProblem& p, const Conv2dTensors& t,
                       const uint32_t* largest_of_weight, const Parallel& parallel) {
  const uint32_t of_weight = largest_of_weight != nullptr
                                 ? *largest_of_weight
                                 : weight_magnitude<T>(p, t.weight, parallel);
  return terms_serve(input_magnitude<T>(p, t.input, parallel), of_weight,
                     p.group_in_channels() * p.R * p.S);
}

template <class T>
bool terms_serve_dgrad(const Conv2dProblem& p, const Conv2dTensors& t, const Parallel& parallel) {
  return terms_serve(output_magnitude<T>(p, t.output, parallel),
                     weight_magnitude<T>(p, t.weight, parallel),
                     p.group_out_channels() * p.R * p.S);
}

template <class T>
bool terms_serve_wgrad(const Conv2dProblem& p, const Conv2dTensors& t, const Parallel& parallel) {
  return terms_serve(input_magnitude<T>(p, t.input, parallel),
                     output_magnitude<T>(p, t.output, parallel), p.N * p.P * p.Q);
}

}  // namespace
}  // namespace fastconv::cpu
