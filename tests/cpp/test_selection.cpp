// How the dispatcher chooses and explains itself.
#include <cstdlib>
#include <set>
#include <stdexcept>
#include <string>

#include "cpu/conv2d/algorithms.h"
#include "cpu/max_pool2d/algorithms.h"
#include "harness.h"

using namespace fastconv;
using namespace fastconv::cpu;
using fastconv::test::check;
using fastconv::test::message_of;

namespace {

template <class List>
void check_names(const List& list, std::set<std::string>& names) {
  check(!list.empty(), "an empty list");
  for (const auto* algorithm : list) {
    check(names.insert(algorithm->name).second, algorithm->name, " is listed twice");
    check(algorithm->dtypes != 0, algorithm->name, " takes no dtype");
    check(isa_from_name(name_of(algorithm->isa)) == algorithm->isa, algorithm->name);
  }
  check(list.back()->isa == Isa::scalar, "the last algorithm must run anywhere");
  check(list.back()->dtypes == kAllDTypes, "the last algorithm must take every dtype");
}

Pool2dProblem two_by_two() {
  Pool2dProblem p{};
  p.N = p.C = 1;
  p.H = p.W = 4;
  p.P = p.Q = 2;
  p.kernel = p.stride = {2, 2};
  p.dilation = {1, 1};
  p.input = {16, 16, 4, 1};
  p.output = {4, 4, 2, 1};
  return p;
}

}  // namespace

FASTCONV_TEST(selection, names_are_unique_over_all_lists) {
  std::set<std::string> names;
  check_names(conv2d_fprop_algorithms(), names);
  check_names(conv2d_dgrad_algorithms(), names);
  check_names(conv2d_wgrad_algorithms(), names);
  check_names(max_pool2d_forward_algorithms(), names);
  check_names(max_pool2d_backward_algorithms(), names);
}

FASTCONV_TEST(selection, environment_caps_the_instruction_set) {
  const char* cap = std::getenv("FASTCONV_MAX_ISA");
  if (cap == nullptr) return;
  check(usable_isa() <= detected_isa(), "the cap raised the instruction set");
  check(usable_isa() == std::min(detected_isa(), *isa_from_name(cap)), "FASTCONV_MAX_ISA=", cap,
        " gives ", name_of(usable_isa()));
}

FASTCONV_TEST(selection, first_that_accepts_runs) {
  const Pool2dProblem p = two_by_two();
  const auto list = max_pool2d_forward_algorithms();
  const auto& chosen = select(list, p, 1, "");
  for (const auto* algorithm : list) {
    const std::string reason = reason_against(*algorithm, p);
    if (algorithm == &chosen) {
      check(reason.empty(), "the chosen one is rejected: ", reason);
      return;
    }
    check(!reason.empty(), algorithm->name, " comes first and would run it");
  }
}

FASTCONV_TEST(selection, a_request_is_obeyed) {
  const Pool2dProblem p = two_by_two();
  const auto& chosen = select(max_pool2d_forward_algorithms(), p, 1,
                              "conv2d_fprop_reference,max_pool2d_forward_reference");
  check(chosen.name == std::string("max_pool2d_forward_reference"), chosen.name);
}

FASTCONV_TEST(selection, a_request_that_cannot_be_met_says_why) {
  Pool2dProblem p = two_by_two();
  p.output.w = 2;
  const std::string message = message_of<std::runtime_error>(
      [&] { select(max_pool2d_forward_algorithms(), p, 1, "max_pool2d_forward_rows_scalar"); });
  check(message.find("max_pool2d_forward_rows_scalar") != std::string::npos, message);
  check(message.find("output rows are not contiguous") != std::string::npos, message);
}

FASTCONV_TEST(selection, names_match_whole) {
  check(names_contain("a,bc", "bc"), "last");
  check(names_contain("a,bc", "a"), "first");
  check(!names_contain("a,bc", "b"), "prefix");
  check(!names_contain("", "a"), "empty");
}
