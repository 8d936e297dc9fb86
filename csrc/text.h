// A string argument of an operator, as the stable ABI hands it over.
#pragma once

#include <torch/csrc/stable/library.h>

#include <cstddef>
#include <string>

namespace fastconv {

// Not std::string itself: torch's own conversion to that (2.10 to 2.13) copies it to the heap once
// more and never deletes the copy, which was 48 bytes at each call of each operator.
struct Text : std::string {
  using std::string::string;
};

}  // namespace fastconv

namespace torch::stable::detail {

template <>
struct ToImpl<fastconv::Text> {
  static fastconv::Text call(StableIValue value, uint64_t, bool) {
    const auto handle = to<StringHandle>(value);
    size_t length;
    TORCH_ERROR_CODE_CHECK(torch_string_length(handle, &length));
    const char* characters;
    TORCH_ERROR_CODE_CHECK(torch_string_c_str(handle, &characters));
    fastconv::Text text(characters, length);
    TORCH_ERROR_CODE_CHECK(torch_delete_string(handle));
    return text;
  }
};

}  // namespace torch::stable::detail
