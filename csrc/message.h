// Error messages put together from pieces, with sizes written as torch writes them: [1, 3, 224,
// 224].
#pragma once

#include <cstdint>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>

namespace fastconv {

inline std::ostream& operator<<(std::ostream& out, std::span<const int64_t> sizes) {
  out << '[';
  for (size_t i = 0; i < sizes.size(); ++i) out << (i == 0 ? "" : ", ") << sizes[i];
  return out << ']';
}

template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (condition) [[likely]]
    return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::runtime_error(message.str());
}

}  // namespace fastconv
