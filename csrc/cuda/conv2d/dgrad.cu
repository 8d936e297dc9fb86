#include "cuda/conv2d/dgrad.cuh"
#include "cuda/conv2d/entries.h"
#include "cuda/conv2d/launch_gemm.h"

namespace fastconv::cuda {
namespace {

const char* takes_everything(const Conv2dProblem&, const Conv2dTensors&) { return nullptr; }
int64_t no_workspace(const Conv2dProblem&, const Device&) { return 0; }

void run(const Conv2dProblem& p, const Conv2dTensors& t, std::byte*, const Queue& queue) {
  dispatch_types(p, [&](auto type, auto index) {
    const Dgrad<typename decltype(type)::type, typename decltype(index)::type> product(p, t);
    launch_implicit_gemm("conv2d_dgrad_simt", product, product.parts(), product.most_rows(),
                         p.group_in_channels(), queue);
  });
}

}  // namespace

const Conv2dAlgorithm conv2d_dgrad_simt = {
    {"conv2d_dgrad_cuda_simt", "conv2d", "dgrad", 80, kAllDTypes, kSimtError,
     "implicit GEMM on the ordinary cores, one of unit stride for each class of pixels that meets "
     "the same taps; no workspace"},
    takes_everything,
    no_workspace,
    run};

}  // namespace fastconv::cuda
