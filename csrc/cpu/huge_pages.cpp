#include "cpu/huge_pages.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fastconv::cpu {

#if defined(__linux__) && defined(MADV_HUGEPAGE)
void prefer_huge_pages(void* memory, int64_t bytes) {
  constexpr uintptr_t kPage = uintptr_t{2} << 20;
  // Below, the call costs more than the faults it saves.
  constexpr int64_t kLeast = int64_t{8} << 20;
  if (bytes < kLeast) return;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory) + kPage - 1) / kPage * kPage;
  const uintptr_t end =
      (reinterpret_cast<uintptr_t>(memory) + static_cast<uintptr_t>(bytes)) / kPage * kPage;
  // Advice: where it is not taken, nothing is lost.
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}
#else
void prefer_huge_pages(void*, int64_t) {}
#endif

}  // namespace fastconv::cpu
