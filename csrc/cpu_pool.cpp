#include "cpu_pool.h"

#include <torch/csrc/stable/ops.h>

namespace fastconv {
namespace {

void run_on_torch_pool(int64_t count, cpu::Parallel::Body body, void* context) {
  TORCH_ERROR_CODE_CHECK(torch_parallel_for(0, count, 1, body, context));
}

}  // namespace

cpu::Parallel torch_pool(double operations) {
  // Waking the pool takes about 5 us.
  constexpr double kWorthWaking = 1 << 17;
  const int threads =
      operations < kWorthWaking ? 1 : static_cast<int>(torch::stable::get_num_threads());
  return {run_on_torch_pool, threads};
}

double multiply_adds(const Conv2dProblem& p) {
  return static_cast<double>(p.N * p.P * p.Q) * static_cast<double>(p.K) *
         static_cast<double>(p.group_in_channels() * p.R * p.S);
}

}  // namespace fastconv
