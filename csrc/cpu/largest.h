#pragma once

#include <atomic>
#include <cstdint>

namespace fastconv::cpu {

// The largest of what several threads saw.
class Largest {
 public:
  void see(uint32_t value);
  uint32_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint32_t> value_{0};
};

inline void Largest::see(uint32_t value) {
  uint32_t seen = value_.load(std::memory_order_relaxed);
  while (seen < value && !value_.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

}  // namespace fastconv::cpu
