// What an algorithm is to the dispatcher (algorithm_list.h): a name, what it can do, what it costs
// in memory, and how to run it. fastconv.algorithms(), use_algorithm() and explain() read the same
// lists.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "algorithm_list.h"
#include "cpu/isa.h"
#include "cpu/parallel.h"
#include "problem.h"

namespace fastconv::cpu {

using fastconv::kAllDTypes;
using fastconv::only;

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

  // What follows is optional; null is absent.

  // Estimated seconds of run() with that many threads, good enough to rank algorithms by.
  double (*cost)(const Problem&, int threads) = nullptr;
  // The weight in a form of the algorithm's own (transformed, split, in panels), for callers that
  // keep it between calls: its size, which depends on nothing but the weight's sizes, groups and
  // dtype, and what makes it of tensors.weight. run() takes it where problem.weight_is_packed and
  // otherwise makes what it needs in its workspace.
  int64_t (*packed_weight_bytes)(const Problem&) = nullptr;
  void (*pack_weight)(const Problem&, const Tensors&, std::byte* packed, const Parallel&) = nullptr;
};

template <class Problem, class Tensors>
double estimated_seconds(const Algorithm<Problem, Tensors>& algorithm, const Problem& problem,
                         int threads) {
  return algorithm.cost == nullptr ? kNoEstimate : algorithm.cost(problem, threads);
}

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
const Algorithm<Problem, Tensors>& select(std::span<const Algorithm<Problem, Tensors>* const> list,
                                          const Problem& problem, int threads,
                                          std::string_view requested) {
  struct Judge {
    const Problem& problem;
    int threads;
    bool accepts(const Algorithm<Problem, Tensors>& algorithm) const {
      return algorithm.isa <= usable_isa() && (algorithm.dtypes & only(problem.dtype)) != 0 &&
             algorithm.reject(problem) == nullptr;
    }
    std::string reason_against(const Algorithm<Problem, Tensors>& algorithm) const {
      return cpu::reason_against(algorithm, problem);
    }
    double seconds(const Algorithm<Problem, Tensors>& algorithm) const {
      return estimated_seconds(algorithm, problem, threads);
    }
  };
  return select_algorithm(list, Judge{problem, threads}, requested);
}

}  // namespace fastconv::cpu
