// The one-dimensional transforms of Winograd's minimal filtering F(m, r), which turn m outputs of a
// filter of r taps into m + r - 1 products (Lavin and Gray, "Fast Algorithms for Convolutional
// Neural Networks", 2015; the matrices are Cook-Toom's for the points below). Two passes, along
// columns and along rows, make F(m x m, r x r). The gradient of the weight is the same sum of
// products read the other way: what made outputs of products makes factors of grad_output, and what
// made factors of the weight makes its gradient of products. To be included under an instruction
// set's pragma.
#pragma once

#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {

// Arithmetic on one vector of float lanes, in the order written.
template <class Target>
struct Lanes {
  using Vector = typename Target::template Vector<float>;
  using Type = typename Vector::Type;

  static Type constant(double value) {
    const float rounded = static_cast<float>(value);
    return Vector::broadcast(&rounded);
  }
  static Type add(Type x, Type y) { return Vector::add(x, y); }
  static Type subtract(Type x, Type y) { return Vector::multiply_add(constant(-1), y, x); }
  // factor * x + y
  static Type multiply_add(double factor, Type x, Type y) {
    return Vector::multiply_add(constant(factor), x, y);
  }
  static Type multiply(double factor, Type x) {
    return Vector::multiply_add(constant(factor), x, Vector::zero());
  }

  // Adds to seen what is 0, or NaN where x is not finite.
  static void note_infinite(Type x, Type& seen) {
    seen = Vector::multiply_add(x, Vector::zero(), seen);
  }
  // Of lanes noted so, whether those of the mask are all zero.
  static bool all_finite(Type seen, uint32_t lanes) {
    alignas(64) float each[Vector::kLanes];
    Vector::store(each, seen);
    for (int l = 0; l < Vector::kLanes; ++l) {
      if ((lanes >> l & 1u) != 0 && each[l] != 0) return false;
    }
    return true;
  }
};

// A one-dimensional transform of kFrom values to kTo, down the columns of a square and then along
// its rows: from load(row, column) to store(row, column, value).
template <class Target, int kFrom, int kTo, class Transform, class Load, class Store>
void transform_square(const Transform& transform, const Load& load, const Store& store) {
  using Type = typename Lanes<Target>::Type;
  Type half[kTo * kFrom];
#pragma GCC unroll 8
  for (int j = 0; j < kFrom; ++j) {
    Type column[kFrom], transformed[kTo];
#pragma GCC unroll 8
    for (int i = 0; i < kFrom; ++i) column[i] = load(i, j);
    transform(column, transformed);
#pragma GCC unroll 8
    for (int i = 0; i < kTo; ++i) half[i * kFrom + j] = transformed[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTo; ++i) {
    Type row[kTo];
    transform(half + i * kFrom, row);
#pragma GCC unroll 8
    for (int j = 0; j < kTo; ++j) store(i, j, row[j]);
  }
}

// Points 0, 1, -1 and infinity.
template <class Target>
struct WinogradF2 {
  using L = Lanes<Target>;
  using Type = typename L::Type;
  static constexpr int kOutputs = 2, kTaps = 3;
  static constexpr int kPoints = 4;

  static void input(const Type* from, Type* to) {
    const Type d0 = from[0], d1 = from[1], d2 = from[2], d3 = from[3];
    to[0] = L::subtract(d0, d2);
    to[1] = L::add(d2, d1);
    to[2] = L::subtract(d2, d1);
    to[3] = L::subtract(d3, d1);
  }

  static void weight(const Type* from, Type* to) {
    const Type g0 = from[0], g1 = from[1], g2 = from[2];
    const Type outer = L::multiply(0.5, L::add(g0, g2));
    to[0] = g0;
    to[1] = L::multiply_add(0.5, g1, outer);
    to[2] = L::multiply_add(-0.5, g1, outer);
    to[3] = g2;
  }

  static void output(const Type* from, Type* to) {
    const Type m1 = from[1], m2 = from[2];
    to[0] = L::add(from[0], L::add(m1, m2));
    to[1] = L::add(L::subtract(m1, m2), from[3]);
  }

  static void grad_output(const Type* from, Type* to) {
    const Type d0 = from[0], d1 = from[1];
    to[0] = d0;
    to[1] = L::add(d0, d1);
    to[2] = L::subtract(d0, d1);
    to[3] = d1;
  }

  static void grad_weight(const Type* from, Type* to) {
    const Type u1 = from[1], u2 = from[2];
    const Type even = L::add(u1, u2);
    to[0] = L::multiply_add(0.5, even, from[0]);
    to[1] = L::multiply(0.5, L::subtract(u1, u2));
    to[2] = L::multiply_add(0.5, even, from[3]);
  }
};

// Points 0, +-5/8, +-3/2 and infinity. Against float64 F(4x4, 3x3) by these leaves 1.0e-6 at 256
// channels, the usual 0, +-1, +-2 leave 2.3e-6 and 0, +-1, 1/2, -2 leave 1.5e-6 (F(2x2, 5x5): as
// much again); every coefficient below but those of the weight transform is exact in float.
template <class Target>
struct WinogradSixPoints {
  using L = Lanes<Target>;
  using Type = typename L::Type;
  static constexpr int kPoints = 6;

  static constexpr double kA = 0.625, kB = 1.5;
  static constexpr double kA2 = kA * kA, kB2 = kB * kB;
  static constexpr double kA3 = kA * kA2, kB3 = kB * kB2, kA4 = kA2 * kA2, kB4 = kB2 * kB2;
  // Of the weight's transform, for the points 0, kA and kB.
  static constexpr double kAtZero = 1 / (kA2 * kB2);
  static constexpr double kAtA = 1 / (2 * kA2 * (kA2 - kB2)), kAtB = 1 / (2 * kB2 * (kB2 - kA2));

  static void input(const Type* from, Type* to) {
    constexpr double product = kA2 * kB2, sum = kA2 + kB2;
    const Type d0 = from[0], d1 = from[1], d2 = from[2], d3 = from[3];
    const Type d4 = from[4], d5 = from[5];
    const Type even_a = L::multiply_add(-kB2, d2, d4), odd_a = L::multiply_add(-kB2, d1, d3);
    const Type even_b = L::multiply_add(-kA2, d2, d4), odd_b = L::multiply_add(-kA2, d1, d3);
    to[0] = L::multiply_add(product, d0, L::multiply_add(-sum, d2, d4));
    to[1] = L::multiply_add(kA, odd_a, even_a);
    to[2] = L::multiply_add(-kA, odd_a, even_a);
    to[3] = L::multiply_add(kB, odd_b, even_b);
    to[4] = L::multiply_add(-kB, odd_b, even_b);
    to[5] = L::multiply_add(product, d1, L::multiply_add(-sum, d3, d5));
  }
};

template <class Target>
struct WinogradF4 : WinogradSixPoints<Target> {
  using P = WinogradSixPoints<Target>;
  using typename P::L;
  using typename P::Type;
  static constexpr int kOutputs = 4, kTaps = 3;

  static void weight(const Type* from, Type* to) {
    const Type g0 = from[0], g1 = from[1], g2 = from[2];
    const Type even_a = L::multiply_add(P::kA2 * P::kAtA, g2, L::multiply(P::kAtA, g0));
    const Type even_b = L::multiply_add(P::kB2 * P::kAtB, g2, L::multiply(P::kAtB, g0));
    to[0] = L::multiply(P::kAtZero, g0);
    to[1] = L::multiply_add(P::kA * P::kAtA, g1, even_a);
    to[2] = L::multiply_add(-P::kA * P::kAtA, g1, even_a);
    to[3] = L::multiply_add(P::kB * P::kAtB, g1, even_b);
    to[4] = L::multiply_add(-P::kB * P::kAtB, g1, even_b);
    to[5] = g2;
  }

  static void output(const Type* from, Type* to) {
    const Type m1 = from[1], m2 = from[2];
    const Type m3 = from[3], m4 = from[4];
    const Type even_a = L::add(m1, m2), odd_a = L::subtract(m1, m2);
    const Type even_b = L::add(m3, m4), odd_b = L::subtract(m3, m4);
    to[0] = L::add(from[0], L::add(even_a, even_b));
    to[1] = L::multiply_add(P::kA, odd_a, L::multiply(P::kB, odd_b));
    to[2] = L::multiply_add(P::kA2, even_a, L::multiply(P::kB2, even_b));
    to[3] = L::multiply_add(P::kA3, odd_a, L::multiply_add(P::kB3, odd_b, from[5]));
  }

  static void grad_output(const Type* from, Type* to) {
    const Type d0 = from[0], d1 = from[1];
    const Type d2 = from[2], d3 = from[3];
    const Type even_a = L::multiply_add(P::kA2, d2, d0), even_b = L::multiply_add(P::kB2, d2, d0);
    const Type odd_a = L::multiply_add(P::kA3, d3, L::multiply(P::kA, d1));
    const Type odd_b = L::multiply_add(P::kB3, d3, L::multiply(P::kB, d1));
    to[0] = d0;
    to[1] = L::add(even_a, odd_a);
    to[2] = L::subtract(even_a, odd_a);
    to[3] = L::add(even_b, odd_b);
    to[4] = L::subtract(even_b, odd_b);
    to[5] = d3;
  }

  static void grad_weight(const Type* from, Type* to) {
    const Type u1 = from[1], u2 = from[2];
    const Type u3 = from[3], u4 = from[4];
    const Type even_a = L::add(u1, u2), odd_a = L::subtract(u1, u2);
    const Type even_b = L::add(u3, u4), odd_b = L::subtract(u3, u4);
    to[0] = L::multiply_add(P::kAtA, even_a,
                            L::multiply_add(P::kAtB, even_b, L::multiply(P::kAtZero, from[0])));
    to[1] = L::multiply_add(P::kA * P::kAtA, odd_a, L::multiply(P::kB * P::kAtB, odd_b));
    to[2] = L::multiply_add(P::kA2 * P::kAtA, even_a,
                            L::multiply_add(P::kB2 * P::kAtB, even_b, from[5]));
  }
};

template <class Target>
struct WinogradF2Of5 : WinogradSixPoints<Target> {
  using P = WinogradSixPoints<Target>;
  using typename P::L;
  using typename P::Type;
  static constexpr int kOutputs = 2, kTaps = 5;

  static void weight(const Type* from, Type* to) {
    const Type g0 = from[0], g1 = from[1], g2 = from[2], g3 = from[3], g4 = from[4];
    const Type even_a = L::multiply_add(
        P::kA4 * P::kAtA, g4, L::multiply_add(P::kA2 * P::kAtA, g2, L::multiply(P::kAtA, g0)));
    const Type even_b = L::multiply_add(
        P::kB4 * P::kAtB, g4, L::multiply_add(P::kB2 * P::kAtB, g2, L::multiply(P::kAtB, g0)));
    const Type odd_a = L::multiply_add(P::kA3 * P::kAtA, g3, L::multiply(P::kA * P::kAtA, g1));
    const Type odd_b = L::multiply_add(P::kB3 * P::kAtB, g3, L::multiply(P::kB * P::kAtB, g1));
    to[0] = L::multiply(P::kAtZero, g0);
    to[1] = L::add(even_a, odd_a);
    to[2] = L::subtract(even_a, odd_a);
    to[3] = L::add(even_b, odd_b);
    to[4] = L::subtract(even_b, odd_b);
    to[5] = g4;
  }

  static void output(const Type* from, Type* to) {
    const Type m1 = from[1], m2 = from[2];
    const Type m3 = from[3], m4 = from[4];
    to[0] = L::add(from[0], L::add(L::add(m1, m2), L::add(m3, m4)));
    to[1] = L::multiply_add(P::kA, L::subtract(m1, m2),
                            L::multiply_add(P::kB, L::subtract(m3, m4), from[5]));
  }

  static void grad_output(const Type* from, Type* to) {
    const Type d0 = from[0], d1 = from[1];
    to[0] = d0;
    to[1] = L::multiply_add(P::kA, d1, d0);
    to[2] = L::multiply_add(-P::kA, d1, d0);
    to[3] = L::multiply_add(P::kB, d1, d0);
    to[4] = L::multiply_add(-P::kB, d1, d0);
    to[5] = d1;
  }

  static void grad_weight(const Type* from, Type* to) {
    const Type u1 = from[1], u2 = from[2];
    const Type u3 = from[3], u4 = from[4];
    const Type even_a = L::multiply(P::kAtA, L::add(u1, u2));
    const Type odd_a = L::multiply(P::kA * P::kAtA, L::subtract(u1, u2));
    const Type even_b = L::multiply(P::kAtB, L::add(u3, u4));
    const Type odd_b = L::multiply(P::kB * P::kAtB, L::subtract(u3, u4));
    to[0] = L::add(even_a, L::multiply_add(P::kAtZero, from[0], even_b));
    to[1] = L::add(odd_a, odd_b);
    to[2] = L::multiply_add(P::kA2, even_a, L::multiply(P::kB2, even_b));
    to[3] = L::multiply_add(P::kA2, odd_a, L::multiply(P::kB2, odd_b));
    to[4] = L::multiply_add(P::kA4, even_a, L::multiply_add(P::kB4, even_b, from[5]));
  }
};

}  // namespace fastconv::cpu
