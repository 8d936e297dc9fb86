// Vectors of AVX2 with FMA and F16C, under the same conditions and with the same members as
// vector_avx512.h. There are no mask registers here: masks become vectors, and 16-bit elements
// under a partial mask go one by one.
#pragma once

#include "cpu/dtype.h"
#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {
namespace {

struct Avx2 {
  static constexpr Isa kIsa = Isa::avx2;
  template <class Accumulator>
  struct Vector;
};

template <>
struct Avx2::Vector<float> {
  using Type = __m256;
  static constexpr int kLanes = 8;
  static constexpr uint32_t kAllLanes = 0xff;

  static Type zero() { return _mm256_setzero_ps(); }
  static Type load(const float* p) { return _mm256_load_ps(p); }
  static void store(float* p, Type x) { _mm256_store_ps(p, x); }
  static Type load_unaligned(const float* p) { return _mm256_loadu_ps(p); }
  static void store_unaligned(float* p, Type x) { _mm256_storeu_ps(p, x); }
  static Type broadcast(const float* p) { return _mm256_broadcast_ss(p); }
  static Type add(Type x, Type y) { return _mm256_add_ps(x, y); }
  static Type multiply_add(Type x, Type y, Type z) {
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(z) : "x"(x), "x"(y));
    return z;
  }
  static Type bit_or(Type x, Type y) { return _mm256_or_ps(x, y); }

  static __m256i mask_of(uint32_t lanes) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i all = _mm256_set1_epi32(static_cast<int>(lanes));
    return _mm256_cmpeq_epi32(_mm256_and_si256(all, bit), bit);
  }
  template <class Half>
  static __m128i load_half(const Half* p, uint32_t lanes) {
    if (lanes == kAllLanes) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    alignas(16) uint16_t bits[kLanes] = {};
    for (int l = 0; l < kLanes; ++l) {
      if (lanes >> l & 1u) bits[l] = p[l].bits;
    }
    return _mm_load_si128(reinterpret_cast<const __m128i*>(bits));
  }
  template <class Half>
  static void store_half(Half* p, __m128i x, uint32_t lanes) {
    if (lanes == kAllLanes) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), x);
      return;
    }
    alignas(16) uint16_t bits[kLanes];
    _mm_store_si128(reinterpret_cast<__m128i*>(bits), x);
    for (int l = 0; l < kLanes; ++l) {
      if (lanes >> l & 1u) p[l].bits = bits[l];
    }
  }

  static Type load_lanes(const float* p, uint32_t lanes) {
    return lanes == kAllLanes ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, mask_of(lanes));
  }
  static Type load_lanes(const bfloat16* p, uint32_t lanes) {
    const __m256i bits = _mm256_cvtepu16_epi32(load_half(p, lanes));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
  }
  static Type load_lanes(const float16* p, uint32_t lanes) {
    return _mm256_cvtph_ps(load_half(p, lanes));
  }

  // The last lane's neighbour is not touched: p[7] to p[14] end with it.
  static Type load_every_other(const float* p, uint32_t lanes) {
    __m256 low, high;
    if (lanes == kAllLanes) {
      low = _mm256_loadu_ps(p);
      high = _mm256_loadu_ps(p + kLanes - 1);
    } else {
      const __m256i mask = mask_of(lanes);
      low = _mm256_maskload_ps(p, _mm256_cvtepu32_epi64(_mm256_castsi256_si128(mask)));
      high = _mm256_maskload_ps(
          p + kLanes - 1,
          _mm256_slli_epi64(_mm256_cvtepu32_epi64(_mm256_extracti128_si256(mask, 1)), 32));
    }
    const __m256d pairs = _mm256_castps_pd(_mm256_shuffle_ps(low, high, 0xd8));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(pairs, 0xd8));
  }
  template <class Half>
  static Type load_every_other(const Half* p, uint32_t lanes) {
    return one_by_one(p, lanes, [](int lane) { return int64_t{2} * lane; });
  }

  template <class T>
  static Type gather(const T* p, const int64_t* offsets, uint32_t lanes) {
    return one_by_one(p, lanes, [offsets](int lane) { return offsets[lane]; });
  }
  template <class T, class OffsetOf>
  static Type one_by_one(const T* p, uint32_t lanes, const OffsetOf& offset_of) {
    alignas(32) float x[kLanes] = {};
    for (int l = 0; l < kLanes; ++l) {
      if (lanes >> l & 1u) x[l] = Storage<T>::load(p[offset_of(l)]);
    }
    return load(x);
  }

  static void store_lanes(float* p, Type x, uint32_t lanes) {
    if (lanes == kAllLanes) {
      _mm256_storeu_ps(p, x);
    } else {
      _mm256_maskstore_ps(p, mask_of(lanes), x);
    }
  }
  static void store_lanes(bfloat16* p, Type x, uint32_t lanes) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i high = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i result = _mm256_blendv_epi8(rounded, quiet, nan);
    store_half(
        p, _mm_packus_epi32(_mm256_castsi256_si128(result), _mm256_extracti128_si256(result, 1)),
        lanes);
  }
  static void store_lanes(float16* p, Type x, uint32_t lanes) {
    store_half(p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), lanes);
  }
  template <class T>
  static void store_every_other(T* p, Type x, uint32_t lanes) {
    alignas(32) float values[kLanes];
    store(values, x);
    for (int l = 0; l < kLanes; ++l) {
      if (lanes >> l & 1u) p[2 * l] = Storage<T>::store(values[l]);
    }
  }

  // Computed by here, in the order of the program.
  static void pin(Type& x) { __asm__ volatile("" : "+x"(x)); }

  using Index = __m256i;
  static Index load_index(const int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Index index_add(Index x, int32_t y) { return _mm256_add_epi32(x, _mm256_set1_epi32(y)); }
  static Type permute(Type x, Index index) { return _mm256_permutevar8x32_ps(x, index); }

  static void transpose(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
    __m256 x[8];
    __m256 y[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) x[i] = _mm256_loadu_ps(from + i * from_stride);
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
      y[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
      y[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        const __m256d low = _mm256_castps_pd(y[i + j]);
        const __m256d high = _mm256_castps_pd(y[i + 2 + j]);
        x[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, high));
        x[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, high));
      }
    }
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b) {
      _mm256_storeu_ps(to + b * to_stride, _mm256_permute2f128_ps(x[b], x[4 + b], 0x20));
      _mm256_storeu_ps(to + (4 + b) * to_stride, _mm256_permute2f128_ps(x[b], x[4 + b], 0x31));
    }
  }
};

template <>
struct Avx2::Vector<double> {
  using Type = __m256d;
  static constexpr int kLanes = 4;
  static constexpr uint32_t kAllLanes = 0xf;

  static Type zero() { return _mm256_setzero_pd(); }
  static Type load(const double* p) { return _mm256_load_pd(p); }
  static void store(double* p, Type x) { _mm256_store_pd(p, x); }
  static Type load_unaligned(const double* p) { return _mm256_loadu_pd(p); }
  static void store_unaligned(double* p, Type x) { _mm256_storeu_pd(p, x); }
  static Type broadcast(const double* p) { return _mm256_broadcast_sd(p); }
  static Type add(Type x, Type y) { return _mm256_add_pd(x, y); }
  static Type multiply_add(Type x, Type y, Type z) {
    __asm__("vfmadd231pd %2, %1, %0" : "+x"(z) : "x"(x), "x"(y));
    return z;
  }
  static Type bit_or(Type x, Type y) { return _mm256_or_pd(x, y); }

  static __m256i mask_of(uint32_t lanes) {
    const __m256i bit = _mm256_setr_epi64x(1, 2, 4, 8);
    const __m256i all = _mm256_set1_epi64x(lanes);
    return _mm256_cmpeq_epi64(_mm256_and_si256(all, bit), bit);
  }
  static Type load_lanes(const double* p, uint32_t lanes) {
    return lanes == kAllLanes ? _mm256_loadu_pd(p) : _mm256_maskload_pd(p, mask_of(lanes));
  }
  static Type load_every_other(const double* p, uint32_t lanes) {
    const int64_t offsets[] = {0, 2, 4, 6};
    return gather(p, offsets, lanes);
  }
  static Type gather(const double* p, const int64_t* offsets, uint32_t lanes) {
    alignas(32) double x[kLanes] = {};
    for (int l = 0; l < kLanes; ++l) {
      if (lanes >> l & 1u) x[l] = p[offsets[l]];
    }
    return load(x);
  }
  static void store_lanes(double* p, Type x, uint32_t lanes) {
    if (lanes == kAllLanes) {
      _mm256_storeu_pd(p, x);
    } else {
      _mm256_maskstore_pd(p, mask_of(lanes), x);
    }
  }

  static void store_every_other(double* p, Type x, uint32_t lanes) {
    alignas(32) double values[kLanes];
    store(values, x);
    for (int l = 0; l < kLanes; ++l) {
      if (lanes >> l & 1u) p[2 * l] = values[l];
    }
  }

  static void transpose(const double* from, int64_t from_stride, double* to, int64_t to_stride) {
    for (int i = 0; i < kLanes; ++i) {
      for (int j = 0; j < kLanes; ++j) to[j * to_stride + i] = from[i * from_stride + j];
    }
  }
};

}  // namespace
}  // namespace fastconv::cpu
