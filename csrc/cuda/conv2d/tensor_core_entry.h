// An entry of the dispatcher's lists for tensor cores: what the three directions have in common.
#pragma once

#include "cuda/algorithm.h"
#include "cuda/conv2d/entries.h"
#include "cuda/conv2d/tensor_core_gemm.cuh"
#include "cuda/conv2d/tensor_core_operands.h"
#include "cuda/launch_size.h"

namespace fastconv::cuda {

enum class Grade { sixteen_bits, tf32, split };

// fn(TypeTag<T>{}, TypeTag<Products>{}) with the element type of the problem and how a warp
// multiplies it.
template <Grade grade, class F>
void dispatch_products(DType dtype, const F& fn) {
  if constexpr (grade == Grade::tf32) {
    fn(TypeTag<float>{}, TypeTag<PlainProducts<float>>{});
  } else if constexpr (grade == Grade::split) {
    fn(TypeTag<float>{}, TypeTag<SplitProducts>{});
  } else if (dtype == DType::bf16) {
    fn(TypeTag<bfloat16>{}, TypeTag<PlainProducts<bfloat16>>{});
  } else {
    fn(TypeTag<float16>{}, TypeTag<PlainProducts<float16>>{});
  }
}

// `rows` and `columns` are those of the largest of the `parts`.
template <class Products, class Product>
void launch_tensor_core(const char* name, const Product& product, int64_t parts, int64_t rows,
                        int64_t columns, const Queue& queue) {
  const int64_t row_tiles = ceil_divide(rows, TensorCoreTile::kSide);
  const int64_t column_tiles = ceil_divide(columns, TensorCoreTile::kSide);
  const int64_t tiles = parts * row_tiles * column_tiles;
  if (tiles == 0) return;
  launch(name, tensor_core_gemm<Product, Products>, blocks_for(tiles), TensorCoreTile::kThreads,
         sizeof(TensorCoreShared<Product>), queue.stream, product, static_cast<int32_t>(row_tiles),
         static_cast<int32_t>(column_tiles));
}

// Direction::kReads says which tensors it reads, Direction::workspace(p, read, device) the bytes
// beside copies, and Direction::run<grade>(p, read, tensors, workspace, queue) enqueues the
// launches; `read` is the problem with its copies.
template <class Direction, Grade grade, bool copies>
struct TensorCoreAlgorithm {
  static const char* reject(const Conv2dProblem& p, const Conv2dTensors& t) {
    if (grade == Grade::tf32 && p.precision != Precision::tf32) {
      return "needs torch.backends.cudnn.conv.fp32_precision to be 'tf32'";
    }
    return copies ? reason_against_copies(p, t, Direction::kReads)
                  : reason_against_in_place(p, t, Direction::kReads);
  }

  static int64_t workspace(const Conv2dProblem& p, const Device& device) {
    return copy_bytes(p, Direction::kReads) +
           Direction::workspace(p, with_copies(p, Direction::kReads), device);
  }

  static void run(const Conv2dProblem& p, const Conv2dTensors& t, std::byte* workspace,
                  const Queue& queue) {
    const Conv2dTensors read = make_copies(p, t, Direction::kReads, workspace, queue);
    Direction::template run<grade>(p, with_copies(p, Direction::kReads), read,
                                   workspace + copy_bytes(p, Direction::kReads), queue);
  }

  static constexpr Conv2dAlgorithm entry(const char* name, const char* note) {
    constexpr DTypeSet dtypes =
        grade == Grade::sixteen_bits ? only(DType::bf16) | only(DType::f16) : only(DType::f32);
    constexpr double error = grade == Grade::tf32 ? kTf32Error : kSimtError;
    return {{name, "conv2d", Direction::kName, 80, dtypes, error, note}, reject, workspace, run};
  }
};

}  // namespace fastconv::cuda
