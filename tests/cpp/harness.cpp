// Runs the tests of the suite named on the command line, or all of them.
#include "harness.h"

#include <cstdio>
#include <string_view>
#include <vector>

namespace fastconv::test {
namespace {

struct Entry {
  std::string_view suite, name;
  void (*body)();
};

std::vector<Entry>& entries() {
  static std::vector<Entry> list;
  return list;
}

int run(std::string_view suite) {
  int ran = 0, failed = 0;
  for (const Entry& entry : entries()) {
    if (!suite.empty() && entry.suite != suite) continue;
    ++ran;
    const std::string label = std::string(entry.suite) + "." + std::string(entry.name);
    try {
      entry.body();
      std::printf("ok      %s\n", label.c_str());
    } catch (const std::exception& error) {
      ++failed;
      std::printf("FAILED  %s: %s\n", label.c_str(), error.what());
    }
  }
  std::printf("%d tests, %d failed\n", ran, failed);
  return failed > 0 || ran == 0 ? 1 : 0;
}

}  // namespace

Test::Test(const char* suite, const char* name, void (*body)()) {
  entries().push_back({suite, name, body});
}

}  // namespace fastconv::test

int main(int argc, char** argv) { return fastconv::test::run(argc > 1 ? argv[1] : ""); }
