// Converts images and numbers to the tensors of a .tflite file, and its outputs to numbers and labels.
//
// C++17 and its standard library alone; the libraries for other languages in this export compute the same, bit for bit:
//
// 1. Decode to 8-bit RGB, in which an app hands the image over; transparency is dropped.
// 2. One channel is grey: (19595 R + 38470 G + 7471 B + 32768) >> 16.
// 3. Resize to the input's size. With a crop, the shorter side to `resize` (the longer side is rounded down), or both sides to
//    height and width. The filters are Pillow's: along one axis after the other, with weights of 22 bits, rounded to 8 bits
//    after each. The width is first, unless the height shrinks by more than twice as many pixels.
// 4. Crop the center; of an odd number of pixels, the even half is cut off at the top or left.
// 5. Put the channels in the order RGB or BGR.
// 6. Normalize: (pixel - mean) / std in double, rounded to float. An input of unquantized uint8 takes the pixels.
// 7. Lay out as height, width, channels or channels, height, width.
// 8. Quantize: value / scale in double, rounded to the nearest integer, a half to even, plus the zero point, limited to the
//    range of the type. Dequantize: (integer - zero point) * scale in double, rounded to float.
#ifndef TFBUNDLE_TENSORS_H_
#define TFBUNDLE_TENSORS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace tfbundle {

enum class Type { kFloat32, kFloat64, kInt64, kInt32, kInt16, kInt8, kUint8, kBool };
enum class Interpolation { kNearest, kBilinear, kBicubic, kLanczos };

// An input or output of a .tflite file. Quantized integers mean scale * (integer - zero_point); a scale of 0 is none.
struct Tensor {
  std::string name;
  Type type;
  std::vector<int> shape;
  double scale = 0;
  int zero_point = 0;

  std::size_t count() const {
    return std::accumulate(shape.begin(), shape.end(), std::size_t{1}, [](std::size_t n, int size) { return n * size; });
  }
};

// One file of a model.
struct Variant {
  std::string name, file;
  std::vector<Tensor> inputs, outputs;
};

// How an image becomes an input.
struct ImageInput {
  int height, width, channels;
  bool channels_first, bgr;
  int resize_shorter;                // the shorter side before the crop; 0 for none
  int resize_height, resize_width;   // both sides before the crop; 0 for none
  Interpolation interpolation;
  std::vector<double> mean, std;     // of pixels of 0 to 255: one number, or one per channel
};

// 8-bit pixels, row by row, with their channels together.
struct Pixels {
  int height, width, channels;
  std::vector<std::uint8_t> data;
};

namespace internal {

constexpr int kPrecisionBits = 22;  // of a filter's weights (Pillow, src/libImaging/Resample.c)

inline double Sinc(double x) {
  constexpr double kPi = 3.14159265358979323846;
  return x == 0 ? 1.0 : std::sin(x * kPi) / (x * kPi);
}

inline double Weigh(Interpolation interpolation, double x) {
  if (interpolation == Interpolation::kLanczos) return -3 <= x && x < 3 ? Sinc(x) * Sinc(x / 3) : 0.0;
  x = std::abs(x);
  if (interpolation == Interpolation::kBilinear) return std::max(1 - x, 0.0);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0.0;
}

// Weights of the pixels from `start` on that make one new pixel.
struct Taps {
  int start;
  std::vector<std::int32_t> weights;
};

inline std::vector<Taps> Weights(int old_size, int new_size, Interpolation interpolation) {
  const double reach = interpolation == Interpolation::kBilinear ? 1 : interpolation == Interpolation::kBicubic ? 2 : 3;
  const double scale = static_cast<double>(old_size) / new_size, stretch = std::max(scale, 1.0), support = reach * stretch;
  std::vector<Taps> result;
  for (int index = 0; index < new_size; ++index) {
    const double center = (index + 0.5) * scale;
    const int start = std::max(static_cast<int>(center - support + 0.5), 0);
    const int end = std::min(static_cast<int>(center + support + 0.5), old_size);
    std::vector<double> row;
    double total = 0;
    for (int source = start; source < end; ++source) {
      row.push_back(Weigh(interpolation, (source - center + 0.5) * (1.0 / stretch)));
      total += row.back();
    }
    Taps taps{start, {}};
    for (double weight : row) {
      const double fixed = weight / total * (1 << kPrecisionBits);
      taps.weights.push_back(static_cast<std::int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
    }
    result.push_back(std::move(taps));
  }
  return result;
}

// Resamples one axis: there are `outer` lines of the axis, whose pixels are `inner` bytes.
inline std::vector<std::uint8_t> Stretch(const std::vector<std::uint8_t>& data, int outer, int old_size, int new_size,
                                         int inner, Interpolation interpolation) {
  const std::vector<Taps> all = Weights(old_size, new_size, interpolation);
  std::vector<std::uint8_t> result(static_cast<std::size_t>(outer) * new_size * inner);
  for (int line = 0; line < outer; ++line) {
    for (int index = 0; index < new_size; ++index) {
      const Taps& taps = all[index];
      for (int byte = 0; byte < inner; ++byte) {
        std::int32_t sum = 1 << (kPrecisionBits - 1);
        for (std::size_t tap = 0; tap < taps.weights.size(); ++tap) {
          sum += taps.weights[tap] * data[(static_cast<std::size_t>(line) * old_size + taps.start + tap) * inner + byte];
        }
        result[(static_cast<std::size_t>(line) * new_size + index) * inner + byte] =
            static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
      }
    }
  }
  return result;
}

inline Pixels StretchWidth(const Pixels& pixels, int width, Interpolation interpolation) {
  if (pixels.width == width) return pixels;
  return {pixels.height, width, pixels.channels,
          Stretch(pixels.data, pixels.height, pixels.width, width, pixels.channels, interpolation)};
}

inline Pixels StretchHeight(const Pixels& pixels, int height, Interpolation interpolation) {
  if (pixels.height == height) return pixels;
  return {height, pixels.width, pixels.channels,
          Stretch(pixels.data, 1, pixels.height, height, pixels.width * pixels.channels, interpolation)};
}

inline std::vector<int> Nearest(int old_size, int new_size) {
  const double step = static_cast<double>(old_size) / new_size;
  std::vector<int> result;
  double place = step * 0.5;
  for (int index = 0; index < new_size; ++index, place += step) result.push_back(static_cast<int>(place));
  return result;
}

inline int Half(int size) {
  const int half = size / 2;
  return size % 2 ? half + half % 2 : half;
}

template <typename To, typename From>
To Convert(From value, const Tensor& tensor) {
  if (tensor.scale == 0) return static_cast<To>(value);
  // std::nearbyint rounds a half to even unless a program changes the rounding mode.
  const double steps = std::nearbyint(static_cast<double>(value) / tensor.scale) + tensor.zero_point;
  const double low = static_cast<double>(std::numeric_limits<To>::lowest());
  const double high = static_cast<double>(std::numeric_limits<To>::max());
  return static_cast<To>(std::clamp(steps, low, high));
}

template <typename To, typename From>
std::vector<std::uint8_t> EncodeAs(const std::vector<From>& values, const Tensor& tensor) {
  std::vector<std::uint8_t> bytes(values.size() * sizeof(To));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const To converted = Convert<To>(values[i], tensor);
    std::memcpy(bytes.data() + i * sizeof(To), &converted, sizeof(To));
  }
  return bytes;
}

template <typename To, typename From>
std::vector<To> DecodeAs(const void* content, const Tensor& tensor) {
  std::vector<To> values(tensor.count());
  for (std::size_t i = 0; i < values.size(); ++i) {
    From stored;
    std::memcpy(&stored, static_cast<const char*>(content) + i * sizeof(From), sizeof(From));
    const double number = static_cast<double>(stored) - tensor.zero_point;
    values[i] = tensor.scale == 0 ? static_cast<To>(stored) : static_cast<To>(static_cast<float>(number * tensor.scale));
  }
  return values;
}

}  // namespace internal

// Resizes as Pillow does.
inline Pixels Resize(const Pixels& pixels, int height, int width, Interpolation interpolation) {
  if (interpolation == Interpolation::kNearest) {
    Pixels result{height, width, pixels.channels, {}};
    const std::vector<int> columns = internal::Nearest(pixels.width, width);
    for (int row : internal::Nearest(pixels.height, height)) {
      for (int column : columns) {
        const auto* first = pixels.data.data() + (static_cast<std::size_t>(row) * pixels.width + column) * pixels.channels;
        result.data.insert(result.data.end(), first, first + pixels.channels);
      }
    }
    return result;
  }
  if (pixels.height - height > 2 * std::max(pixels.width - width, 0)) {
    return internal::StretchWidth(internal::StretchHeight(pixels, height, interpolation), width, interpolation);
  }
  return internal::StretchHeight(internal::StretchWidth(pixels, width, interpolation), height, interpolation);
}

// Returns RGB pixels in the size and number of channels of the input, RGB or grey.
inline Pixels Fit(const Pixels& rgb, const ImageInput& image) {
  if (rgb.channels != 3 || rgb.height < 1 || rgb.width < 1 ||
      rgb.data.size() != static_cast<std::size_t>(rgb.height) * rgb.width * 3) {
    throw std::invalid_argument("an image has height * width * 3 bytes, RGB");
  }
  Pixels pixels = rgb;
  if (image.channels == 1) {
    pixels.channels = 1;
    pixels.data.resize(rgb.data.size() / 3);
    for (std::size_t i = 0; i < pixels.data.size(); ++i) {
      const std::uint8_t* p = rgb.data.data() + 3 * i;
      pixels.data[i] = static_cast<std::uint8_t>((19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 32768) >> 16);
    }
  }
  int height = image.height, width = image.width;
  if (image.resize_shorter) {
    const int shorter = std::min(rgb.height, rgb.width);
    height = static_cast<int>(static_cast<std::int64_t>(image.resize_shorter) * rgb.height / shorter);
    width = static_cast<int>(static_cast<std::int64_t>(image.resize_shorter) * rgb.width / shorter);
  } else if (image.resize_height) {
    height = image.resize_height;
    width = image.resize_width;
  }
  const Pixels resized = Resize(pixels, height, width, image.interpolation);
  const int top = internal::Half(height - image.height), left = internal::Half(width - image.width);
  Pixels cut{image.height, image.width, image.channels, {}};
  for (int row = top; row < top + image.height; ++row) {
    const auto first = resized.data.begin() + (static_cast<std::ptrdiff_t>(row) * width + left) * image.channels;
    cut.data.insert(cut.data.end(), first, first + static_cast<std::ptrdiff_t>(image.width) * image.channels);
  }
  return cut;
}

// Returns the content of a tensor for numbers: quantized if the tensor is, otherwise converted to its type.
template <typename From>
std::vector<std::uint8_t> Encode(const std::vector<From>& values, const Tensor& tensor) {
  if (values.size() != tensor.count()) throw std::invalid_argument(tensor.name + " has another number of elements");
  switch (tensor.type) {
    case Type::kFloat32: return internal::EncodeAs<float>(values, tensor);
    case Type::kFloat64: return internal::EncodeAs<double>(values, tensor);
    case Type::kInt64: return internal::EncodeAs<std::int64_t>(values, tensor);
    case Type::kInt32: return internal::EncodeAs<std::int32_t>(values, tensor);
    case Type::kInt16: return internal::EncodeAs<std::int16_t>(values, tensor);
    case Type::kInt8: return internal::EncodeAs<std::int8_t>(values, tensor);
    case Type::kUint8: return internal::EncodeAs<std::uint8_t>(values, tensor);
    case Type::kBool: return internal::EncodeAs<bool>(values, tensor);
  }
  throw std::invalid_argument(tensor.name + " has an unknown type");
}

// Returns the numbers that a tensor holds; those of quantized integers have the precision of float.
template <typename To = float>
std::vector<To> Decode(const void* content, const Tensor& tensor) {
  switch (tensor.type) {
    case Type::kFloat32: return internal::DecodeAs<To, float>(content, tensor);
    case Type::kFloat64: return internal::DecodeAs<To, double>(content, tensor);
    case Type::kInt64: return internal::DecodeAs<To, std::int64_t>(content, tensor);
    case Type::kInt32: return internal::DecodeAs<To, std::int32_t>(content, tensor);
    case Type::kInt16: return internal::DecodeAs<To, std::int16_t>(content, tensor);
    case Type::kInt8: return internal::DecodeAs<To, std::int8_t>(content, tensor);
    case Type::kUint8: return internal::DecodeAs<To, std::uint8_t>(content, tensor);
    case Type::kBool: return internal::DecodeAs<To, bool>(content, tensor);
  }
  throw std::invalid_argument(tensor.name + " has an unknown type");
}

// Returns the content of an image input for an RGB image of any size.
inline std::vector<std::uint8_t> PrepareImage(const Pixels& rgb, const ImageInput& image, const Tensor& tensor) {
  const Pixels cut = Fit(rgb, image);
  const bool raw = tensor.type == Type::kUint8 && tensor.scale == 0;
  const int area = image.height * image.width, channels = image.channels;
  std::vector<float> values(cut.data.size());
  for (int place = 0; place < area; ++place) {
    for (int channel = 0; channel < channels; ++channel) {
      const double pixel = cut.data[place * channels + (image.bgr ? channels - 1 - channel : channel)];
      const double mean = image.mean[image.mean.size() == 1 ? 0 : channel];
      const double std = image.std[image.std.size() == 1 ? 0 : channel];
      const std::size_t index = image.channels_first ? channel * area + place : place * channels + channel;
      values[index] = static_cast<float>(raw ? pixel : (pixel - mean) / std);
    }
  }
  return Encode(values, tensor);
}

// Returns the labels with the highest scores, the best first; of equal scores, the first label. The first row counts.
inline std::vector<std::pair<std::string, float>> Top(const std::vector<float>& scores, const std::vector<std::string>& labels,
                                                      std::size_t count = 1) {
  std::vector<std::size_t> order(std::min(labels.size(), scores.size()));
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  std::vector<std::pair<std::string, float>> result;
  for (std::size_t i = 0; i < std::min(count, order.size()); ++i) result.emplace_back(labels[order[i]], scores[order[i]]);
  return result;
}

// Returns the content of a file.
inline std::vector<std::uint8_t> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be read");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Returns the lines of a file of labels.
inline std::vector<std::string> ReadLabels(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + " cannot be read");
  std::vector<std::string> labels;
  for (std::string line; std::getline(file, line);) labels.push_back(line);
  return labels;
}

}  // namespace tfbundle

#endif  // TFBUNDLE_TENSORS_H_
