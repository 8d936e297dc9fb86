// Which dtypes are computed with how many bfloat16 terms. To be included under the AVX-512 pragma.
#pragma once

#include "cpu/amx/target.h"
#include "cpu/dispatch_dtype.h"
#include "problem.h"

namespace fastconv::cpu {
namespace {

// bfloat16 is one term and float16 exactly two; a sum of one product of them is as good as their
// rounding lets it be.
template <int kTerms>
constexpr DTypeSet kDTypesOfTerms = kTerms == 1   ? only(DType::f32) | only(DType::bf16)
                                    : kTerms == 2 ? only(DType::f32) | only(DType::f16)
                                                  : only(DType::f32);

// The two terms of a float16 are all of it, and so are four products all of a product.
template <class Tiles, int kTerms, class T>
using TargetOfTerms = AmxTarget<Tiles, kTerms,
                                kTerms == 3                ? 6
                                : kTerms == 1              ? 1
                                : std::is_same_v<T, float> ? 3
                                                           : 4>;

// fn(TypeTag<T>{}) for the dtypes of so many terms alone: no kernel for others is compiled.
template <int kTerms, class F>
decltype(auto) dispatch_terms(DType dtype, const F& fn) {
  if constexpr (kTerms == 1) {
    if (dtype == DType::bf16) return fn(TypeTag<bfloat16>{});
  } else if constexpr (kTerms == 2) {
    if (dtype == DType::f16) return fn(TypeTag<float16>{});
  }
  return fn(TypeTag<float>{});
}

}  // namespace
}  // namespace fastconv::cpu
