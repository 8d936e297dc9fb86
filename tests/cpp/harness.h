// A test harness in one page. googletest and its kin would be a download or a system package on
// every machine that runs `make test`, for tests that need no more than a list of functions and a
// way to say what went wrong.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace fastconv::test {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The first failure ends its test; the message says which of its random problems it was.
template <class... Parts>
void check(bool condition, const Parts&... parts) {
  if (condition) return;
  std::ostringstream message;
  (message << ... << parts);
  throw Failure(message.str());
}

template <class Error, class F>
std::string message_of(const F& fn) {
  try {
    fn();
  } catch (const Error& error) {
    return error.what();
  }
  throw Failure("expected an exception");
}

struct Test {
  Test(const char* suite, const char* name, void (*body)());
};

}  // namespace fastconv::test

#define FASTCONV_TEST(suite, name)                                                            \
  static void suite##_##name();                                                               \
  static const fastconv::test::Test register_##suite##_##name(#suite, #name, suite##_##name); \
  static void suite##_##name()
