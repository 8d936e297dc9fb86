// Stacks and the switch between them. 9 to 14 ns a switch where ucontext, which saves the signal
// mask with a system call, takes 190.
#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>

#include "runtime.h"

#if !defined(__x86_64__)
#error "the emulator switches stacks in x86-64 assembly"
#endif

// Saves the callee-saved registers on the stack that is left and takes them from the one entered.
asm(R"(
.text
.globl cuda_emulation_switch
.hidden cuda_emulation_switch
.type cuda_emulation_switch, @function
cuda_emulation_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size cuda_emulation_switch, .-cuda_emulation_switch
)");

namespace cuda_emulation {

Stacks::Stacks() {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  stride = kBytes + page;
  void* mapping = mmap(nullptr, stride * kMaxThreads, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::runtime_error("no memory for the stacks");
  begin = static_cast<std::byte*>(mapping);
}

void* Stacks::prepare(int thread, void (*entry)()) {
  // Above its guard page. Only now: each takes two of the 65530 mappings that a process may have,
  // and a run of the tests loads dozens of libraries.
  for (; opened <= thread; ++opened) {
    if (mprotect(begin + static_cast<size_t>(opened + 1) * stride - kBytes, kBytes,
                 PROT_READ | PROT_WRITE) != 0) {
      throw std::runtime_error("no more mappings for stacks");
    }
  }
  auto* top = reinterpret_cast<void**>(begin + static_cast<size_t>(thread + 1) * stride);
  constexpr int kSavedRegisters = 6;
  *--top = nullptr;  // a function finds its stack 8 bytes off a multiple of 16
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
  return top;
}

bool Stacks::contains(const void* address) const {
  return address >= begin && address < begin + stride * kMaxThreads;
}

}  // namespace cuda_emulation
