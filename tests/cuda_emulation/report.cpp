// Findings, kept until the test reads them.
#include <dlfcn.h>

#include <cstring>
#include <set>
#include <sstream>
#include <utility>

#include "driver.h"
#include "runtime.h"

namespace cuda_emulation {
namespace {

std::vector<std::string> findings;
std::set<std::pair<std::string, const void*>> seen;

}  // namespace

void report_for(const char* kind, const std::string& details, const void* code, unsigned thread) {
  if (!seen.emplace(kind, code).second) return;
  std::ostringstream line;
  line << kind;
  if (running != nullptr) {
    line << ": block " << running->thread().block.x << " thread " << thread;
  }
  line << ": " << details;
  Dl_info info;
  if (code != nullptr && dladdr(code, &info) != 0) {
    // One byte back: a return address is the instruction after the one that called.
    line << " @" << std::hex
         << static_cast<const char*>(code) - static_cast<char*>(info.dli_fbase) - 1;
  }
  findings.push_back(line.str());
}

void report(const char* kind, const std::string& details, const void* code) {
  report_for(kind, details, code, running == nullptr ? 0 : running->thread().thread.x);
}

}  // namespace cuda_emulation

// Takes the findings since the last call as lines, cut where `text` is full; the number of them.
int emulation_take_findings(char* text, int64_t size) {
  using namespace cuda_emulation;
  std::string all;
  for (const std::string& line : findings) all += line + '\n';
  const int count = static_cast<int>(findings.size());
  findings.clear();
  seen.clear();
  if (size > 0) {
    const size_t length = std::min(all.size(), static_cast<size_t>(size - 1));
    std::memcpy(text, all.data(), length);
    text[length] = '\0';
  }
  return count;
}

void emulation_configure(int order, int copies, uint64_t seed) {
  cuda_emulation::settings = {static_cast<cuda_emulation::Order>(order),
                              static_cast<cuda_emulation::CopyTiming>(copies), seed};
}

int emulation_has_memory_hooks() { return cuda_emulation::shadow_enabled() ? 1 : 0; }
