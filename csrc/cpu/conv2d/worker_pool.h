// Tasks over workers: each worker owns a slice of the workspace and takes the next task when it is
// done with the last, so that an unlucky thread holds up one task and not a fixed share.
#pragma once

#include <atomic>
#include <cstdint>

#include "cpu/parallel.h"

namespace fastconv::cpu {

constexpr int64_t worker_count(int64_t tasks, int threads) {
  return tasks < threads ? tasks : threads;
}

class TaskQueue {
 public:
  explicit TaskQueue(int64_t tasks) : tasks_(tasks) {}

  // The next task, or -1.
  int64_t take();

 private:
  std::atomic<int64_t> next_{0};
  int64_t tasks_;
};

inline int64_t TaskQueue::take() {
  const int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
  return task < tasks_ ? task : -1;
}

}  // namespace fastconv::cpu
