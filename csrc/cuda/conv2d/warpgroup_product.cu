#include "cuda/conv2d/warpgroup_fprop.cuh"
#include "cuda/conv2d/warpgroup_product.h"
#include "cuda/launch_size.h"

namespace fastconv::cuda {
namespace {

using Tile = WarpgroupTile;

int64_t pixels(const Conv2dProblem& p) { return p.N * p.P * p.Q; }

int64_t tiles_of(const Conv2dProblem& p, int64_t columns) {
  return ceil_divide(pixels(p), Tile::kRows) * ceil_divide(p.K, columns);
}

// How far the walk over the first tap's pixels ends before the last column or row.
int64_t upper_corner(int64_t outputs, int64_t stride, int64_t pad, int64_t extent) {
  return (outputs - 1) * stride - pad - (extent - 1);
}

bool is_corner(int64_t offset) { return kLeastCorner <= offset && offset <= kMostCorner; }

// Does each of the outer three dimensions, innermost first, contain the one before?
bool nested(int64_t channels, const int64_t (&extent)[3], const int64_t (&stride)[3]) {
  int64_t inner = channels;
  for (int i = 0; i < 3; ++i) {
    if (extent[i] <= 1) continue;
    if (stride[i] < inner) return false;
    inner = stride[i] * extent[i];
  }
  return true;
}

bool has_instructions(const Device& device) {
  static const bool compiled =
      was_compiled_for_warpgroups(warpgroup_fprop<bfloat16, 256>, Tile::kThreads);
  return device.compute_capability / 10 == 9 && compiled;
}

// A tensor of these extents and strides in elements, innermost dimension first. Of one element the
// stride is free, and a tensor map's must be a multiple of 16 bytes.
MappedTensor mapped(const Conv2dProblem& p, const void* data, int64_t channels,
                    const int64_t (&extent)[3], const int64_t (&stride)[3]) {
  MappedTensor tensor{p.dtype, data, {static_cast<uint64_t>(channels)}, {}};
  int64_t inner = channels;
  for (int i = 0; i < 3; ++i) {
    const int64_t own = extent[i] > 1 ? stride[i] : inner;
    tensor.extent[i + 1] = static_cast<uint64_t>(extent[i]);
    tensor.stride_bytes[i] = static_cast<uint64_t>(own * size_of(p.dtype));
    inner = own * extent[i];
  }
  return tensor;
}

bool stores_pieces(const Conv2dProblem& p, const void* output) {
  const auto whole = [](int64_t extent, int64_t stride) { return extent <= 1 || stride % 8 == 0; };
  return p.output.c == 1 && whole(p.N, p.output.n) && whole(p.P, p.output.h) &&
         whole(p.Q, p.output.w) && reinterpret_cast<uintptr_t>(output) % 16 == 0;
}

template <class T, int columns>
void launch_tiles(const char* name, const Conv2dProblem& p, const Conv2dTensors& t,
                  const Queue& queue) {
  const int64_t tiles = tiles_of(p, columns);
  const PixelWalk walk{{static_cast<int>(-p.pad.w), static_cast<int>(-p.pad.h)},
                       {static_cast<int>(upper_corner(p.Q, p.stride.w, p.pad.w, p.W)),
                        static_cast<int>(upper_corner(p.P, p.stride.h, p.pad.h, p.H))},
                       {static_cast<uint32_t>(p.stride.w), static_cast<uint32_t>(p.stride.h)}};
  const TensorMap input =
      map_of_pixels(mapped(p, t.input, p.C, {p.W, p.H, p.N}, {p.input.w, p.input.h, p.input.n}),
                    walk, Tile::kRows);
  const TensorMap weight = map_of_boxes(
      mapped(p, t.weight, p.C, {p.S, p.R, p.K}, {p.weight.w, p.weight.h, p.weight.n}), columns);
  const WarpgroupFprop<T> conv{
      ConvShape<int32_t>(p),
      static_cast<const T*>(t.bias),
      static_cast<T*>(t.output),
      static_cast<int32_t>(pixels(p)),
      static_cast<int32_t>(p.R * p.S * ceil_divide(p.C, Tile::kDepth)),
      static_cast<int32_t>(tiles),
      static_cast<int32_t>(ceil_divide(p.K, columns)),
      stores_pieces(p, t.output),
  };
  const int64_t blocks = std::min<int64_t>(tiles, queue.device.multiprocessors);
  launch(name, warpgroup_fprop<T, columns>, blocks_for(blocks), Tile::kThreads,
         sizeof(WarpgroupShared<T, columns>) + kSwizzleBlock, queue.stream, input, weight, conv);
}

// Tiles of 256 columns read less for each product, where they fill up no more output channels and
// still give every multiprocessor one.
bool takes_wide_tiles(const Conv2dProblem& p, const Device& device) {
  return ceil_divide(p.K, 256) * 2 == ceil_divide(p.K, 128) &&
         tiles_of(p, 256) >= device.multiprocessors;
}

template <class T>
void run_typed(const char* name, const Conv2dProblem& p, const Conv2dTensors& t,
               const Queue& queue) {
  if (takes_wide_tiles(p, queue.device)) {
    launch_tiles<T, 256>(name, p, t, queue);
  } else {
    launch_tiles<T, 128>(name, p, t, queue);
  }
}

}  // namespace

const char* warpgroup_reject(const Conv2dProblem& p) {
  if (!fits_int32(p)) return "needs sizes below 2^30";
  if (p.groups != 1) return "needs one group";
  if (std::max(p.stride.h, p.stride.w) > kMostPixelStep) return "needs strides of at most 8";
  if (std::max((p.R - 1) * p.dilation.h, (p.S - 1) * p.dilation.w) > kMostPixelOffset) {
    return "needs a window of at most 256 pixels a side, dilation included";
  }
  if (!is_corner(-p.pad.h) || !is_corner(-p.pad.w) ||
      !is_corner(upper_corner(p.P, p.stride.h, p.pad.h, p.H)) ||
      !is_corner(upper_corner(p.Q, p.stride.w, p.pad.w, p.W))) {
    return "needs windows that start at most 128 pixels from the image's edges";
  }
  if (!nested(p.C, {p.W, p.H, p.N}, {p.input.w, p.input.h, p.input.n}) ||
      !nested(p.C, {p.S, p.R, p.K}, {p.weight.w, p.weight.h, p.weight.n})) {
    return "needs pixels within rows within images";
  }
  return nullptr;
}

const char* warpgroup_reject_device(const Device& device) {
  return has_instructions(device) ? nullptr
                                  : "needs a GPU of compute capability 9.0 and code for sm_90a";
}

// Nobody has seen a driver accept these tensor maps, nor these kernels run: until then they are
// taken by name alone.
constexpr bool kHasRunOnAGpu = false;

// Steps are 64 channels deep and a tile is 128 channels wide; two tiles for each multiprocessor
// keep the ring turning. On purpose it leaves small layers to mma.sync.
bool warpgroup_worthwhile(const Conv2dProblem& p, const Device& device) {
  return kHasRunOnAGpu && p.C >= 64 && p.K >= 64 &&
         tiles_of(p, 128) >= int64_t{2} * device.multiprocessors;
}

void launch_warpgroup_product(const char* name, const Conv2dProblem& p, const Conv2dTensors& t,
                              const Queue& queue) {
  if (pixels(p) == 0) return;
  if (p.dtype == DType::bf16) {
    run_typed<bfloat16>(name, p, t, queue);
  } else {
    run_typed<float16>(name, p, t, queue);
  }
}

}  // namespace fastconv::cuda
