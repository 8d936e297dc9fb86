#include "verbose.h"

#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string_view>

namespace fastconv {
namespace {

bool verbose() {
  static const bool on = [] {
    const char* value = std::getenv("FASTCONV_VERBOSE");
    return value != nullptr && std::string_view(value) == "1";
  }();
  return on;
}

std::ostream& operator<<(std::ostream& out, const Extent2& e) { return out << e.h << 'x' << e.w; }

template <class Describe>
void log_line(const Choice& choice, const Describe& describe) {
  if (!verbose()) return;
  // One write per line, so that lines of concurrent callers stay whole.
  std::ostringstream line;
  line << "fastconv: " << choice.algorithm << ' ';
  describe(line);
  line << ' ' << choice.resource << ' ' << choice.number << '\n';
  std::cerr << line.str();
}

}  // namespace

void log_choice(const Choice& choice, const Conv2dProblem& p) {
  log_line(choice, [&](std::ostream& out) {
    out << name_of(p.dtype) << " input " << p.N << 'x' << p.C << 'x' << p.H << 'x' << p.W
        << " weight " << p.K << 'x' << p.group_in_channels() << 'x' << p.R << 'x' << p.S
        << " output " << p.P << 'x' << p.Q << " stride " << p.stride << " pad " << p.pad
        << " dilation " << p.dilation << " groups " << p.groups;
  });
}

void log_choice(const Choice& choice, const Pool2dProblem& p) {
  log_line(choice, [&](std::ostream& out) {
    out << name_of(p.dtype) << " input " << p.N << 'x' << p.C << 'x' << p.H << 'x' << p.W
        << " output " << p.P << 'x' << p.Q << " kernel " << p.kernel << " stride " << p.stride
        << " pad " << p.pad << " dilation " << p.dilation;
  });
}

}  // namespace fastconv
