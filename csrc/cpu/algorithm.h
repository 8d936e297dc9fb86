// What an algorithm is to the dispatcher: a name, what it can do, what it costs in memory, and how
// to run it.
//
// Each operator direction keeps one ordered list of algorithms, best first and the reference last
// (oneDNN's implementation lists are the model). The list is the dispatcher: the first entry that
// rejects a problem with no reason runs it. fastconv.algorithms(), use_algorithm() and explain()
// read the same lists.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cpu/isa.h"
#include "cpu/parallel.h"
#include "problem.h"

namespace fastconv::cpu {

// The set of dtypes an algorithm takes, one bit for each DType.
using DTypeSet = uint8_t;
constexpr DTypeSet only(DType dtype) {
  return static_cast<DTypeSet>(1u << static_cast<unsigned>(dtype));
}
constexpr DTypeSet kAllDTypes =
    only(DType::f32) | only(DType::f64) | only(DType::bf16) | only(DType::f16);

struct AlgorithmInfo {
  const char* name;       // unique over all operators and directions: what use_algorithm() takes
  const char* op;         // "conv2d" or "max_pool2d"
  const char* direction;  // conv2d: "fprop", "dgrad", "wgrad"; max_pool2d: "forward", "backward"
  Isa isa;
  DTypeSet dtypes;
  // Stated relative error ||out - ref|| / ||ref|| in float32 against float64 on the same inputs, as
  // an upper bound for well-scaled random data; 0 where the result is exact. A test holds every
  // algorithm to it.
  double error;
  const char* note;  // one sentence for people: the method and its workspace
};

template <class Problem, class Tensors>
struct Algorithm : AlgorithmInfo {
  // Why this problem is not for this algorithm, or nullptr. ISA and dtype are the dispatcher's to
  // check.
  const char* (*reject)(const Problem&);
  // Bytes of scratch that run() needs with that many threads.
  int64_t (*workspace)(const Problem&, int threads);
  // Overwrites the whole output. workspace is 64-byte aligned and uninitialised.
  void (*run)(const Problem&, const Tensors&, std::byte* workspace, const Parallel&);
};

// What the dispatcher thought of one algorithm: an empty reason means it would run the problem.
struct Verdict {
  const AlgorithmInfo* algorithm;
  std::string reason;
};

template <class Problem, class Tensors>
std::string reason_against(const Algorithm<Problem, Tensors>& algorithm, const Problem& problem) {
  if (algorithm.isa > usable_isa()) {
    return std::string("needs ") + name_of(algorithm.isa) + ", this process may use " +
           name_of(usable_isa());
  }
  if ((algorithm.dtypes & only(problem.dtype)) == 0) {
    return std::string("has no kernel for ") + fastconv::name_of(problem.dtype);
  }
  const char* reason = algorithm.reject(problem);
  return reason == nullptr ? std::string() : std::string(reason);
}

template <class Problem, class Tensors>
std::vector<Verdict> verdicts(std::span<const Algorithm<Problem, Tensors>* const> list,
                              const Problem& problem) {
  std::vector<Verdict> out;
  for (const auto* algorithm : list)
    out.push_back({algorithm, reason_against(*algorithm, problem)});
  return out;
}

// `requested` holds the names given to use_algorithm(), comma separated. A name that belongs to
// another list is not for this direction and is passed over; one of this list must be able to do
// the problem or this throws std::runtime_error with the reason.
template <class Problem, class Tensors>
const Algorithm<Problem, Tensors>& select(std::span<const Algorithm<Problem, Tensors>* const> list,
                                          const Problem& problem, std::string_view requested);

bool names_contain(std::string_view comma_separated, std::string_view name);
[[noreturn]] void throw_requested_but_rejected(const AlgorithmInfo& algorithm,
                                               const std::string& reason);
[[noreturn]] void throw_nothing_fits(const std::vector<Verdict>& verdicts);

template <class Problem, class Tensors>
const Algorithm<Problem, Tensors>& select(std::span<const Algorithm<Problem, Tensors>* const> list,
                                          const Problem& problem, std::string_view requested) {
  if (!requested.empty()) {
    for (const auto* algorithm : list) {
      if (!names_contain(requested, algorithm->name)) continue;
      const std::string reason = reason_against(*algorithm, problem);
      if (!reason.empty()) throw_requested_but_rejected(*algorithm, reason);
      return *algorithm;
    }
  }
  for (const auto* algorithm : list) {
    if (algorithm->isa <= usable_isa() && (algorithm->dtypes & only(problem.dtype)) != 0 &&
        algorithm->reject(problem) == nullptr) {
      return *algorithm;
    }
  }
  throw_nothing_fits(verdicts(list, problem));
}

}  // namespace fastconv::cpu
