// A range that torch's profiler shows under this name, around what it shows under torch's names.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include "message.h"

namespace fastconv {

// 0.3 us even where nobody profiles: ask first (surroundings.h).
class ProfiledAs {
 public:
  explicit ProfiledAs(const char* name) {
    require(aoti_record_function_start(name, nullptr, nullptr, 0, &range_) == 0,
            "torch's profiler refused the range ", name);
  }
  ~ProfiledAs() { aoti_record_function_end(range_); }
  ProfiledAs(const ProfiledAs&) = delete;

 private:
  AtenRecordFunctionHandle range_ = nullptr;
};

}  // namespace fastconv
