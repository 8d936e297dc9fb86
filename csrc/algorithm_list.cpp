#include "algorithm_list.h"

#include <stdexcept>

namespace fastconv {

bool names_contain(std::string_view comma_separated, std::string_view name) {
  while (!comma_separated.empty()) {
    const size_t comma = comma_separated.find(',');
    if (comma_separated.substr(0, comma) == name) return true;
    if (comma == std::string_view::npos) return false;
    comma_separated.remove_prefix(comma + 1);
  }
  return false;
}

void throw_requested_but_rejected(const char* algorithm, const std::string& reason) {
  throw std::runtime_error(std::string("fastconv: the requested algorithm ") + algorithm +
                           " cannot do this problem: " + reason);
}

void throw_nothing_fits(const std::vector<Verdict>& verdicts) {
  std::string message = "fastconv: no algorithm takes this problem:";
  for (const Verdict& verdict : verdicts) {
    message += std::string(" [") + verdict.algorithm + ": " + verdict.reason + "]";
  }
  throw std::runtime_error(message);
}

}  // namespace fastconv
