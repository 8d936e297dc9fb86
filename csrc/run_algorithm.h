// The last step of every operator: select from the list, log, allocate the stated workspace, run.
#pragma once

#include <string_view>

#include "cpu/algorithm.h"
#include "torch_adapter.h"
#include "verbose.h"

namespace fastconv {

template <class Problem, class Tensors>
void run_algorithm(std::span<const cpu::Algorithm<Problem, Tensors>* const> list,
                   const Problem& problem, const Tensors& tensors, std::string_view requested,
                   double operations) {
  const auto& algorithm = cpu::select(list, problem, requested);
  const cpu::Parallel pool = torch_pool(operations);
  log_choice(algorithm, problem, pool.threads());
  const Workspace workspace(algorithm.workspace(problem, pool.threads()));
  algorithm.run(problem, tensors, workspace.data(), pool);
}

}  // namespace fastconv
