// Cutting one workspace into arrays. The same code that carves them, run on no memory, counts the
// bytes: the size an algorithm states and the size it uses cannot drift apart.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastconv::cpu {

class Carver {
 public:
  explicit constexpr Carver(std::byte* memory) : memory_(memory) {}

  // `count` elements on a cache line of their own, or null when only counting.
  template <class T>
  T* take(int64_t count) {
    std::byte* const at = memory_ == nullptr ? nullptr : memory_ + bytes_;
    bytes_ += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return reinterpret_cast<T*>(at);
  }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* memory_;
  int64_t bytes_ = 0;
};

}  // namespace fastconv::cpu
