#include "cuda/conv2d/channels_last_copy.cuh"
#include "cuda/conv2d/tensor_core_operands.h"
#include "cuda/launch_size.h"

namespace fastconv::cuda {
namespace {

constexpr int64_t kPieceBytes = 16;

int64_t piece(const Conv2dProblem& p) { return kPieceBytes / size_of(p.dtype); }

enum class Which { input, weight, output };

// One tensor as tensor cores read it.
struct Read {
  int64_t images, rows, columns;
  int64_t groups, channels;  // channels of a group
  Which which;
};

template <class Problem>  // constant or not
auto& strides_of(Problem& p, Which which) {
  return which == Which::input ? p.input : which == Which::weight ? p.weight : p.output;
}
template <class Tensors>
auto& data_of(Tensors& t, Which which) {
  return which == Which::input ? t.input : which == Which::weight ? t.weight : t.output;
}

Read input_of(const Conv2dProblem& p) {
  return {p.N, p.H, p.W, p.groups, p.group_in_channels(), Which::input};
}
Read weight_of(const Conv2dProblem& p) {
  return {p.K, p.R, p.S, 1, p.group_in_channels(), Which::weight};
}
Read output_of(const Conv2dProblem& p) {
  return {p.N, p.P, p.Q, p.groups, p.group_out_channels(), Which::output};
}

struct Pair {
  Read first, second;
};
Pair reads_of(const Conv2dProblem& p, Reads reads) {
  if (reads == Reads::fprop) return {input_of(p), weight_of(p)};
  if (reads == Reads::dgrad) return {output_of(p), weight_of(p)};
  return {output_of(p), input_of(p)};
}

// The strides of a dimension of one element are free.
bool side_by_side(const Conv2dProblem& p, const Read& read) {
  const Strides4& s = strides_of(p, read.which);
  const auto whole = [&](int64_t extent, int64_t stride) {
    return extent <= 1 || stride % piece(p) == 0;
  };
  return s.c == 1 && read.channels % piece(p) == 0 && whole(read.images, s.n) &&
         whole(read.rows, s.h) && whole(read.columns, s.w);
}

bool aligned(const Conv2dTensors& t, const Read& read) {
  return reinterpret_cast<uintptr_t>(data_of(t, read.which)) % kPieceBytes == 0;
}

int64_t padded(const Conv2dProblem& p, int64_t channels) {
  return ceil_divide(channels, piece(p)) * piece(p);
}

Strides4 dense(const Conv2dProblem& p, const Read& read) {
  const int64_t channels = read.groups * padded(p, read.channels);
  return {read.rows * read.columns * channels, 1, read.columns * channels, channels};
}

int64_t bytes(const Conv2dProblem& p, const Read& read) {
  if (side_by_side(p, read)) return 0;
  const int64_t dense_bytes = read.images * dense(p, read).n * size_of(p.dtype);
  return ceil_divide(dense_bytes, 256) * 256;  // the next copy starts aligned
}

void copy(const Conv2dProblem& p, const Read& read, Conv2dTensors& t, std::byte* target,
          const Queue& queue) {
  const int64_t pixels = read.images * read.rows * read.columns;
  const int64_t channels = padded(p, read.channels);
  const ChannelsLastCopy shape{strides_of(p, read.which),           static_cast<int32_t>(read.rows),
                               static_cast<int32_t>(read.columns),  static_cast<int32_t>(pixels),
                               static_cast<int32_t>(read.channels), static_cast<int32_t>(channels),
                               static_cast<int32_t>(read.groups)};
  const void* source = data_of(t, read.which);
  data_of(t, read.which) = target;
  const int64_t tiles =
      ceil_divide(pixels, kCopySide) * ceil_divide(read.groups * channels, kCopySide);
  if (tiles == 0) return;
  dispatch_dtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    if constexpr (sizeof(T) <= sizeof(float)) {
      launch("conv2d_copy_to_channels_last", copy_to_channels_last<T>, blocks_for(tiles),
             kCopyThreads, sizeof(CopyShared<T>), queue.stream, shape,
             static_cast<const T*>(source), reinterpret_cast<T*>(target));
    }
  });
}

}  // namespace

const char* reason_against_in_place(const Conv2dProblem& p, const Conv2dTensors& t, Reads reads) {
  const auto [first, second] = reads_of(p, reads);
  if (first.channels == 0 || first.channels % piece(p) != 0 || second.channels == 0 ||
      second.channels % piece(p) != 0) {
    return "needs whole 16-byte pieces of channels in a group";
  }
  if (!side_by_side(p, first) || !side_by_side(p, second)) {
    return "needs the channels of what it reads side by side (channels_last), and every pixel at a "
           "multiple of 16 bytes";
  }
  return reason_against_copies(p, t, reads);
}

const char* reason_against_copies(const Conv2dProblem& p, const Conv2dTensors& t, Reads reads) {
  const auto [first, second] = reads_of(p, reads);
  if (p.group_in_channels() == 0) return "needs channels";
  if (p.groups > 1 && (p.group_in_channels() % piece(p) != 0 ||
                       (reads != Reads::fprop && p.group_out_channels() % piece(p) != 0))) {
    return "needs whole 16-byte pieces of channels in a group, where there is more than one";
  }
  for (const Read& read : {first, second}) {
    if (side_by_side(p, read) && !aligned(t, read)) {
      return "needs tensors that start at a multiple of 16 bytes";
    }
  }
  if (!fits_int32(p) || !fits_int32(with_copies(p, reads))) return "needs sizes below 2^30";
  return nullptr;
}

Conv2dProblem with_copies(const Conv2dProblem& p, Reads reads) {
  Conv2dProblem copied = p;
  const auto [first, second] = reads_of(p, reads);
  for (const Read& read : {first, second}) {
    if (!side_by_side(p, read)) strides_of(copied, read.which) = dense(p, read);
  }
  copied.C = p.groups * padded(p, p.group_in_channels());
  if (reads != Reads::fprop) copied.K = p.groups * padded(p, p.group_out_channels());
  return copied;
}

int64_t copy_bytes(const Conv2dProblem& p, Reads reads) {
  const auto [first, second] = reads_of(p, reads);
  return bytes(p, first) + bytes(p, second);
}

Conv2dTensors make_copies(const Conv2dProblem& p, const Conv2dTensors& t, Reads reads,
                          std::byte* workspace, const Queue& queue) {
  Conv2dTensors copied = t;
  const auto [first, second] = reads_of(p, reads);
  for (const Read& read : {first, second}) {
    if (side_by_side(p, read)) continue;
    copy(p, read, copied, workspace, queue);
    workspace += bytes(p, read);
  }
  return copied;
}

}  // namespace fastconv::cuda
