// The definition of a convolution and of its gradients, to be read. Each element is one sum, in
// double for float64 and, so that it can judge the others, for every other dtype too. Nothing here
// is meant to be fast.
#include <algorithm>
#include <cstddef>

#include "cpu/conv2d/entries.h"
#include "cpu/dispatch_dtype.h"

namespace fastconv::cpu {
namespace {

template <class T>
double at(const void* base, const Strides4& s, int64_t n, int64_t c, int64_t h, int64_t w) {
  return Storage<T>::load(static_cast<const T*>(base)[n * s.n + c * s.c + h * s.h + w * s.w]);
}

template <class T>
void put(void* base, const Strides4& s, int64_t n, int64_t c, int64_t h, int64_t w, double value) {
  using Accumulator = typename Storage<T>::Accumulator;
  static_cast<T*>(base)[n * s.n + c * s.c + h * s.h + w * s.w] =
      Storage<T>::store(static_cast<Accumulator>(value));
}

// output[n,k,p,q] = bias[k] + sum over c,r,s of weight[k,c,r,s] * input[n, c, p*stride - pad +
// r*dilation, ...]
template <class T>
void fprop_element(const Conv2dProblem& p, const Conv2dTensors& t, int64_t n, int64_t k, int64_t op,
                   int64_t oq) {
  const int64_t first_channel = k / p.group_out_channels() * p.group_in_channels();
  double sum = t.bias == nullptr ? 0.0 : Storage<T>::load(static_cast<const T*>(t.bias)[k]);
  for (int64_t c = 0; c < p.group_in_channels(); ++c) {
    for (int64_t r = 0; r < p.R; ++r) {
      const int64_t h = op * p.stride.h - p.pad.h + r * p.dilation.h;
      if (h < 0 || h >= p.H) continue;
      for (int64_t s = 0; s < p.S; ++s) {
        const int64_t w = oq * p.stride.w - p.pad.w + s * p.dilation.w;
        if (w < 0 || w >= p.W) continue;
        sum += at<T>(t.weight, p.weight, k, c, r, s) *
               at<T>(t.input, p.input, n, first_channel + c, h, w);
      }
    }
  }
  put<T>(t.output, p.output, n, k, op, oq, sum);
}

// The output row (or column) that tap r reads input row h for, or -1 where there is none.
int64_t output_of(int64_t h, int64_t r, int64_t stride, int64_t pad, int64_t dilation,
                  int64_t extent) {
  const int64_t scaled = h + pad - r * dilation;
  if (scaled < 0 || scaled % stride != 0 || scaled / stride >= extent) return -1;
  return scaled / stride;
}

// input[n,c,h,w] = sum over the outputs that read it of weight * output
template <class T>
void dgrad_element(const Conv2dProblem& p, const Conv2dTensors& t, int64_t n, int64_t c, int64_t h,
                   int64_t w) {
  const int64_t group = c / p.group_in_channels();
  const int64_t first_filter = group * p.group_out_channels();
  double sum = 0.0;
  for (int64_t r = 0; r < p.R; ++r) {
    const int64_t op = output_of(h, r, p.stride.h, p.pad.h, p.dilation.h, p.P);
    if (op < 0) continue;
    for (int64_t s = 0; s < p.S; ++s) {
      const int64_t oq = output_of(w, s, p.stride.w, p.pad.w, p.dilation.w, p.Q);
      if (oq < 0) continue;
      for (int64_t k = first_filter; k < first_filter + p.group_out_channels(); ++k) {
        sum += at<T>(t.weight, p.weight, k, c % p.group_in_channels(), r, s) *
               at<T>(t.output, p.output, n, k, op, oq);
      }
    }
  }
  put<T>(t.input, p.input, n, c, h, w, sum);
}

// weight[k,c,r,s] = sum over n,p,q of output[n,k,p,q] * input[n, c, p*stride - pad + r*dilation,
// ...]
template <class T>
void wgrad_element(const Conv2dProblem& p, const Conv2dTensors& t, int64_t k, int64_t c, int64_t r,
                   int64_t s) {
  const int64_t channel = k / p.group_out_channels() * p.group_in_channels() + c;
  double sum = 0.0;
  for (int64_t n = 0; n < p.N; ++n) {
    for (int64_t op = 0; op < p.P; ++op) {
      const int64_t h = op * p.stride.h - p.pad.h + r * p.dilation.h;
      if (h < 0 || h >= p.H) continue;
      for (int64_t oq = 0; oq < p.Q; ++oq) {
        const int64_t w = oq * p.stride.w - p.pad.w + s * p.dilation.w;
        if (w < 0 || w >= p.W) continue;
        sum += at<T>(t.output, p.output, n, k, op, oq) * at<T>(t.input, p.input, n, channel, h, w);
      }
    }
  }
  put<T>(t.weight, p.weight, k, c, r, s, sum);
}

template <class Element>
void for_each_element(int64_t d0, int64_t d1, int64_t d2, int64_t d3, const Parallel& parallel,
                      const Element& element) {
  parallel.for_each(d0 * d1, [&](int64_t task) {
    for (int64_t i2 = 0; i2 < d2; ++i2) {
      for (int64_t i3 = 0; i3 < d3; ++i3) element(task / d1, task % d1, i2, i3);
    }
  });
}

void fprop(const Conv2dProblem& p, const Conv2dTensors& t, std::byte*, const Parallel& parallel) {
  dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for_each_element(p.N, p.K, p.P, p.Q, parallel,
                     [&](int64_t n, int64_t k, int64_t op, int64_t oq) {
                       fprop_element<T>(p, t, n, k, op, oq);
                     });
  });
}

void dgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte*, const Parallel& parallel) {
  dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for_each_element(p.N, p.C, p.H, p.W, parallel, [&](int64_t n, int64_t c, int64_t h, int64_t w) {
      dgrad_element<T>(p, t, n, c, h, w);
    });
  });
}

void wgrad(const Conv2dProblem& p, const Conv2dTensors& t, std::byte*, const Parallel& parallel) {
  dispatch_dtype(p.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for_each_element(
        p.K, p.group_in_channels(), p.R, p.S, parallel,
        [&](int64_t k, int64_t c, int64_t r, int64_t s) { wgrad_element<T>(p, t, k, c, r, s); });
  });
}

const char* takes_everything(const Conv2dProblem&) { return nullptr; }
int64_t no_workspace(const Conv2dProblem&, int) { return 0; }

constexpr double kError = 1e-7;
constexpr const char* kNote = "the definition, one sum in double per element; no workspace";

}  // namespace

const Conv2dAlgorithm conv2d_fprop_reference = {
    {"conv2d_fprop_reference", "conv2d", "fprop", Isa::scalar, kAllDTypes, kError, kNote},
    takes_everything,
    no_workspace,
    fprop};

const Conv2dAlgorithm conv2d_dgrad_reference = {
    {"conv2d_dgrad_reference", "conv2d", "dgrad", Isa::scalar, kAllDTypes, kError, kNote},
    takes_everything,
    no_workspace,
    dgrad};

const Conv2dAlgorithm conv2d_wgrad_reference = {
    {"conv2d_wgrad_reference", "conv2d", "wgrad", Isa::scalar, kAllDTypes, kError, kNote},
    takes_everything,
    no_workspace,
    wgrad};

}  // namespace fastconv::cpu
