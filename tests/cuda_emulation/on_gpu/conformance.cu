// The specimens on a real GPU: do ldmatrix, mma.sync, cp.async and shuffles do what the emulator
// says they do? test_conformance.py builds this with nvcc and loads it through ctypes.
#include <cstdio>

#include "cuda/device.h"

namespace fastconv::cuda {
void run_specimen(const char* kernel, const char* fault, const void* a, const void* b, float* c,
                  int depth, bool b_by_depth, cudaStream_t stream);
}  // namespace fastconv::cuda

// Device pointers; 0, or 1 with the reason on stderr.
extern "C" __attribute__((visibility("default"))) int conformance(const char* kernel, const void* a,
                                                                  const void* b, float* c,
                                                                  int depth, int b_by_depth) {
  try {
    fastconv::cuda::run_specimen(kernel, "none", a, b, c, depth, b_by_depth != 0, nullptr);
    fastconv::cuda::check(cudaDeviceSynchronize(), kernel);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
