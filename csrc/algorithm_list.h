// The dispatcher: each operator direction keeps one ordered list of algorithms, best first and the
// most general last (oneDNN's implementation lists are the model), and the first entry that rejects
// a problem with no reason runs it, unless that one and a later one both estimate their time and
// the later is faster. cpu/algorithm.h and cuda/algorithm.h say what an entry is.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "problem.h"

namespace fastconv {

// The set of dtypes an algorithm takes, one bit for each DType.
using DTypeSet = uint8_t;
constexpr DTypeSet only(DType dtype) {
  return static_cast<DTypeSet>(1u << static_cast<unsigned>(dtype));
}
constexpr DTypeSet kAllDTypes =
    only(DType::f32) | only(DType::f64) | only(DType::bf16) | only(DType::f16);

// What the dispatcher thought of one algorithm: an empty reason means it would run the problem.
struct Verdict {
  const char* algorithm;
  std::string reason;
};

// What judge.seconds() says of an algorithm that has no model of its own time.
constexpr double kNoEstimate = -1;

bool names_contain(std::string_view comma_separated, std::string_view name);
[[noreturn]] void throw_requested_but_rejected(const char* algorithm, const std::string& reason);
[[noreturn]] void throw_nothing_fits(const std::vector<Verdict>& verdicts);

// `judge` knows the problem: judge.accepts(algorithm) is the quick answer, judge.reason_against()
// the same in words, empty where it accepts; judge.seconds() is the estimated time, or kNoEstimate.
// `requested` holds the names given to use_algorithm(), comma separated. A name that belongs to
// another list is not for this direction and is passed over; one of this list must be able to do
// the problem or this throws std::runtime_error with the reason.
template <class Algorithm, class Judge>
const Algorithm& select_algorithm(std::span<const Algorithm* const> list, const Judge& judge,
                                  std::string_view requested) {
  if (!requested.empty()) {
    for (const auto* algorithm : list) {
      if (!names_contain(requested, algorithm->name)) continue;
      const std::string reason = judge.reason_against(*algorithm);
      if (!reason.empty()) throw_requested_but_rejected(algorithm->name, reason);
      return *algorithm;
    }
  }
  const Algorithm* best = nullptr;
  double best_seconds = kNoEstimate;
  for (const auto* algorithm : list) {
    if (!judge.accepts(*algorithm)) continue;
    const double seconds = judge.seconds(*algorithm);
    if (best == nullptr || (seconds != kNoEstimate && seconds < best_seconds)) {
      best = algorithm;
      best_seconds = seconds;
    }
    if (best_seconds == kNoEstimate) break;
  }
  if (best != nullptr) return *best;
  std::vector<Verdict> verdicts;
  for (const auto* algorithm : list) {
    verdicts.push_back({algorithm->name, judge.reason_against(*algorithm)});
  }
  throw_nothing_fits(verdicts);
}

}  // namespace fastconv
