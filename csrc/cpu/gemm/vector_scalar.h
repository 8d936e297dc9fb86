// The vector of a CPU that promises nothing: 16 bytes in the compiler's own vector type, which is
// SSE2 on x86-64 and NEON on aarch64. Members as in vector_avx512.h.
#pragma once

#include "cpu/dtype.h"
#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {
namespace {

struct Scalar {
  static constexpr Isa kIsa = Isa::scalar;

  template <class Accumulator>
  struct Vector {
    typedef Accumulator Type __attribute__((vector_size(16), may_alias));
    typedef Accumulator Unaligned
        __attribute__((vector_size(16), may_alias, aligned(alignof(Accumulator))));
    typedef int64_t Bits __attribute__((vector_size(16), may_alias));
    static constexpr int kLanes = 16 / sizeof(Accumulator);
    static constexpr uint32_t kAllLanes = (1u << kLanes) - 1;

    static Type zero() { return Type{}; }
    static Type load(const Accumulator* p) { return *reinterpret_cast<const Type*>(p); }
    static void store(Accumulator* p, Type x) { *reinterpret_cast<Type*>(p) = x; }
    static Type load_unaligned(const Accumulator* p) {
      return *reinterpret_cast<const Unaligned*>(p);
    }
    static void store_unaligned(Accumulator* p, Type x) { *reinterpret_cast<Unaligned*>(p) = x; }
    static Type broadcast(const Accumulator* p) { return Type{} + *p; }
    static Type add(Type x, Type y) { return x + y; }
    static Type multiply_add(Type x, Type y, Type z) { return x * y + z; }
    static Type bit_or(Type x, Type y) {
      return std::bit_cast<Type>(std::bit_cast<Bits>(x) | std::bit_cast<Bits>(y));
    }

    template <class T>
    static Type load_lanes(const T* p, uint32_t lanes) {
      Type x{};
      if (lanes == kAllLanes) {
        for (int l = 0; l < kLanes; ++l) x[l] = Storage<T>::load(p[l]);
      } else {
        for (int l = 0; l < kLanes; ++l) {
          if (lanes >> l & 1u) x[l] = Storage<T>::load(p[l]);
        }
      }
      return x;
    }
    template <class T>
    static Type load_every_other(const T* p, uint32_t lanes) {
      Type x{};
      for (int l = 0; l < kLanes; ++l) {
        if (lanes >> l & 1u) x[l] = Storage<T>::load(p[2 * l]);
      }
      return x;
    }
    template <class T>
    static Type gather(const T* p, const int64_t* offsets, uint32_t lanes) {
      Type x{};
      for (int l = 0; l < kLanes; ++l) {
        if (lanes >> l & 1u) x[l] = Storage<T>::load(p[offsets[l]]);
      }
      return x;
    }
    template <class T>
    static void store_lanes(T* p, Type x, uint32_t lanes) {
      for (int l = 0; l < kLanes; ++l) {
        if (lanes >> l & 1u) p[l] = Storage<T>::store(x[l]);
      }
    }
    template <class T>
    static void store_every_other(T* p, Type x, uint32_t lanes) {
      for (int l = 0; l < kLanes; ++l) {
        if (lanes >> l & 1u) p[2 * l] = Storage<T>::store(x[l]);
      }
    }

    static void transpose(const Accumulator* from, int64_t from_stride, Accumulator* to,
                          int64_t to_stride) {
      for (int i = 0; i < kLanes; ++i) {
        for (int j = 0; j < kLanes; ++j) to[j * to_stride + i] = from[i * from_stride + j];
      }
    }
  };
};

}  // namespace
}  // namespace fastconv::cpu
