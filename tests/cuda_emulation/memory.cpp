// Memory between guard pages, and what happens when a kernel touches one.
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

#include "runtime.h"

namespace cuda_emulation {
namespace {

struct sigaction previous_handler;

std::string hexadecimal(const void* address) {
  char text[32];
  std::snprintf(text, sizeof text, "%p", address);
  return text;
}

void on_fault(int, siginfo_t* info, void* context) {
  if (running == nullptr) {
    sigaction(SIGSEGV, &previous_handler, nullptr);
    return;
  }
  const auto* machine = static_cast<const ucontext_t*>(context);
  report("bad address", "access to " + hexadecimal(info->si_addr) + " outside every buffer",
         reinterpret_cast<const void*>(machine->uc_mcontext.gregs[REG_RIP]));
  running->abandon();
}

}  // namespace

GuardedBytes::GuardedBytes(size_t bytes) : size_(bytes) {
  constexpr size_t kAlignment = 16;
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t aligned = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const size_t inner = (aligned + page - 1) / page * page;
  mapped_ = inner + 2 * page;
  void* mapping = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::runtime_error("no memory for a buffer");
  mapping_ = static_cast<std::byte*>(mapping);
  if (inner > 0) mprotect(mapping_ + page, inner, PROT_READ | PROT_WRITE);
  data_ = mapping_ + page + inner - aligned;
  std::memset(data_, 0xFF, aligned);
}

GuardedBytes::~GuardedBytes() { munmap(mapping_, mapped_); }

FaultHandler::FaultHandler() {
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  // The handler leaves by switching stacks and never returns, so that the signal must stay open.
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, &previous_handler);
}

FaultHandler::~FaultHandler() { sigaction(SIGSEGV, &previous_handler, nullptr); }

}  // namespace cuda_emulation
