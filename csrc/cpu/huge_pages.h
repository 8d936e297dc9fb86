// Large memory in large pages.
#pragma once

#include <cstdint>

namespace fastconv::cpu {

// Asks the kernel to back `bytes` from `memory` on by pages of 2 MiB where it has not given them
// any yet. Memory fresh from mmap, as every tensor above malloc's threshold (32 MiB) is in every
// call, is cleared page by page while it is first written; in 4 KiB pages that takes longer than
// many convolutions. Does nothing for small memory and where the system has no such pages.
void prefer_huge_pages(void* memory, int64_t bytes);

}  // namespace fastconv::cpu
