// Converts images and numbers to the tensors of a .tflite file, and its outputs to numbers and labels.
//
// Swift's standard library and Foundation alone; the libraries for other languages in this export compute the same, bit for bit:
//
// 1. Decode to 8-bit RGB; transparency is dropped.
// 2. One channel is grey: (19595 R + 38470 G + 7471 B + 32768) >> 16.
// 3. Resize to the input's size. With a crop, the shorter side to `resize` (the longer side is rounded down), or both sides to
//    height and width. The filters are Pillow's: along one axis after the other, with weights of 22 bits, rounded to 8 bits
//    after each. The width is first, unless the height shrinks by more than twice as many pixels.
// 4. Crop the center; of an odd number of pixels, the even half is cut off at the top or left.
// 5. Put the channels in the order RGB or BGR.
// 6. Normalize: (pixel - mean) / std in Double, rounded to Float. An input of unquantized uint8 takes the pixels.
// 7. Lay out as height, width, channels or channels, height, width.
// 8. Quantize: value / scale in Double, rounded to the nearest integer, a half to even, plus the zero point, limited to the
//    range of the type. Dequantize: (integer - zero point) * scale in Double, rounded to Float.

import Foundation

enum TensorDtype {
  case float32, float64, int64, int32, int16, int8, uint8, bool

  var byteCount: Int {
    switch self {
    case .float64, .int64: return 8
    case .float32, .int32: return 4
    case .int16: return 2
    case .int8, .uint8, .bool: return 1
    }
  }
}

/// An input or output. Quantized integers mean scale * (integer - zeroPoint); a scale of 0 is none.
struct TensorSpec {
  let name: String
  let dtype: TensorDtype
  let shape: [Int]
  let scale: Double
  let zeroPoint: Int

  var count: Int { return shape.reduce(1, *) }
}

/// One file of a model.
struct VariantSpec {
  let name: String
  let file: String
  let inputs: [TensorSpec]
  let outputs: [TensorSpec]
}

enum TensorError: Error {
  case wrongCount(name: String, expected: Int, actual: Int)
  case notAnImage
  case unknown(name: String)
}

enum Interpolation {
  case nearest, bilinear, bicubic, lanczos
}

/// How an image becomes an input.
struct ImageSpec {
  let height: Int
  let width: Int
  let channels: Int
  let channelsFirst: Bool
  let bgr: Bool
  /// The size before the crop: the shorter side, or height and width; empty to resize to the input's size.
  let resize: [Int]
  let interpolation: Interpolation
  /// Of pixels of 0 to 255: one number, or one per channel.
  let mean: [Double]
  let std: [Double]
}

/// 8-bit pixels, row by row, with their channels together.
struct Pixels {
  let height: Int
  let width: Int
  let channels: Int
  let data: [UInt8]
}

enum TfbundleTensors {
  private static let precisionBits = 22  // of a filter's weights (Pillow, src/libImaging/Resample.c)

  /// Returns the content of an image input for an RGB image of any size.
  static func prepareImage(_ rgb: Pixels, _ image: ImageSpec, _ tensor: TensorSpec) throws -> Data {
    let cut = try fit(rgb, image)
    let raw = tensor.dtype == .uint8 && tensor.scale == 0
    let area = image.height * image.width
    let channels = image.channels
    var values = [Float](repeating: 0, count: area * channels)
    for place in 0..<area {
      for channel in 0..<channels {
        let pixel = Double(cut.data[place * channels + (image.bgr ? channels - 1 - channel : channel)])
        let mean = image.mean[image.mean.count == 1 ? 0 : channel]
        let std = image.std[image.std.count == 1 ? 0 : channel]
        let index = image.channelsFirst ? channel * area + place : place * channels + channel
        values[index] = Float(raw ? pixel : (pixel - mean) / std)
      }
    }
    return try encode(values, tensor)
  }

  /// Returns RGB pixels in the size and number of channels of the input, RGB or grey.
  static func fit(_ rgb: Pixels, _ image: ImageSpec) throws -> Pixels {
    guard rgb.channels == 3, !rgb.data.isEmpty, rgb.data.count == rgb.height * rgb.width * 3 else {
      throw TensorError.notAnImage
    }
    let pixels = image.channels == 1 ? grey(rgb) : rgb
    let (height, width) = sizeBeforeCrop(rgb, image)
    let resized = resize(pixels, height: height, width: width, interpolation: image.interpolation)
    let top = half(height - image.height)
    let left = half(width - image.width)
    var data: [UInt8] = []
    data.reserveCapacity(image.height * image.width * image.channels)
    for row in top..<(top + image.height) {
      let start = (row * width + left) * image.channels
      data.append(contentsOf: resized.data[start..<(start + image.width * image.channels)])
    }
    return Pixels(height: image.height, width: image.width, channels: image.channels, data: data)
  }

  private static func grey(_ rgb: Pixels) -> Pixels {
    let data: [UInt8] = (0..<(rgb.height * rgb.width)).map { place in
      let red = 19595 * Int(rgb.data[3 * place])
      let green = 38470 * Int(rgb.data[3 * place + 1])
      let blue = 7471 * Int(rgb.data[3 * place + 2])
      return UInt8((red + green + blue + 32768) >> 16)
    }
    return Pixels(height: rgb.height, width: rgb.width, channels: 1, data: data)
  }

  private static func sizeBeforeCrop(_ pixels: Pixels, _ image: ImageSpec) -> (Int, Int) {
    if image.resize.isEmpty { return (image.height, image.width) }
    if image.resize.count == 2 { return (image.resize[0], image.resize[1]) }
    let shorter = min(pixels.height, pixels.width)
    return (image.resize[0] * pixels.height / shorter, image.resize[0] * pixels.width / shorter)
  }

  private static func half(_ size: Int) -> Int {
    let half = size / 2
    return size % 2 != 0 ? half + half % 2 : half
  }

  /// Resizes as Pillow does.
  static func resize(_ pixels: Pixels, height: Int, width: Int, interpolation: Interpolation) -> Pixels {
    if interpolation == .nearest { return resizeToNearest(pixels, height: height, width: width) }
    if pixels.height - height > 2 * max(pixels.width - width, 0) {
      return stretchWidth(stretchHeight(pixels, height, interpolation), width, interpolation)
    }
    return stretchHeight(stretchWidth(pixels, width, interpolation), height, interpolation)
  }

  private static func resizeToNearest(_ pixels: Pixels, height: Int, width: Int) -> Pixels {
    let channels = pixels.channels
    let columns = nearest(pixels.width, width)
    var data: [UInt8] = []
    data.reserveCapacity(height * width * channels)
    for row in nearest(pixels.height, height) {
      for column in columns {
        let start = (row * pixels.width + column) * channels
        data.append(contentsOf: pixels.data[start..<(start + channels)])
      }
    }
    return Pixels(height: height, width: width, channels: channels, data: data)
  }

  private static func nearest(_ oldSize: Int, _ newSize: Int) -> [Int] {
    let step = Double(oldSize) / Double(newSize)
    var place = step * 0.5
    var result: [Int] = []
    for _ in 0..<newSize {
      result.append(Int(place))
      place += step
    }
    return result
  }

  private static func stretchWidth(_ pixels: Pixels, _ width: Int, _ interpolation: Interpolation) -> Pixels {
    if pixels.width == width { return pixels }
    let data = stretch(
      pixels.data, outer: pixels.height, from: pixels.width, to: width, inner: pixels.channels, interpolation)
    return Pixels(height: pixels.height, width: width, channels: pixels.channels, data: data)
  }

  private static func stretchHeight(_ pixels: Pixels, _ height: Int, _ interpolation: Interpolation) -> Pixels {
    if pixels.height == height { return pixels }
    let data = stretch(
      pixels.data, outer: 1, from: pixels.height, to: height, inner: pixels.width * pixels.channels, interpolation)
    return Pixels(height: height, width: pixels.width, channels: pixels.channels, data: data)
  }

  /// Resamples one axis: there are `outer` lines of the axis, whose pixels are `inner` bytes.
  private static func stretch(
    _ data: [UInt8], outer: Int, from oldSize: Int, to newSize: Int, inner: Int, _ interpolation: Interpolation
  ) -> [UInt8] {
    let all = weights(oldSize, newSize, interpolation)
    var result = [UInt8](repeating: 0, count: outer * newSize * inner)
    for line in 0..<outer {
      for index in 0..<newSize {
        let (start, taps) = all[index]
        for byte in 0..<inner {
          var sum = 1 << (precisionBits - 1)
          for tap in 0..<taps.count {
            sum += taps[tap] * Int(data[(line * oldSize + start + tap) * inner + byte])
          }
          result[(line * newSize + index) * inner + byte] = UInt8(min(max(sum >> precisionBits, 0), 255))
        }
      }
    }
    return result
  }

  private static func weights(_ oldSize: Int, _ newSize: Int, _ interpolation: Interpolation) -> [(Int, [Int])] {
    let reach: Double = interpolation == .bilinear ? 1 : interpolation == .bicubic ? 2 : 3
    let scale = Double(oldSize) / Double(newSize)
    let widening = max(scale, 1)
    let support = reach * widening
    return (0..<newSize).map { index in
      let center = (Double(index) + 0.5) * scale
      let start = max(Int(center - support + 0.5), 0)
      let end = min(Int(center + support + 0.5), oldSize)
      var row: [Double] = []
      var total = 0.0
      for source in start..<end {
        let weight = weigh(interpolation, (Double(source) - center + 0.5) * (1 / widening))
        row.append(weight)
        total += weight
      }
      let taps: [Int] = row.map { weight in
        let fixed = weight / total * Double(1 << precisionBits)
        return Int(fixed < 0 ? fixed - 0.5 : fixed + 0.5)
      }
      return (start, taps)
    }
  }

  private static func weigh(_ interpolation: Interpolation, _ signed: Double) -> Double {
    let x = abs(signed)
    switch interpolation {
    case .bilinear:
      return max(1 - x, 0)
    case .bicubic:
      if x < 1 { return (1.5 * x - 2.5) * x * x + 1 }
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0
    case .nearest, .lanczos:
      return signed >= -3 && signed < 3 ? sinc(signed) * sinc(signed / 3) : 0
    }
  }

  private static func sinc(_ x: Double) -> Double {
    return x == 0 ? 1 : sin(x * Double.pi) / (x * Double.pi)
  }

  /// Returns the content of a tensor for numbers: quantized if the tensor is, otherwise converted to its type.
  static func encode(_ values: [Float], _ tensor: TensorSpec) throws -> Data {
    try check(values.count, tensor)
    if tensor.scale == 0 {
      switch tensor.dtype {
      case .float32: return bytes(values)
      case .float64: return bytes(values.map { Double($0) })
      default: return try encode(values.map { Int64($0) }, tensor)
      }
    }
    return quantized(values.map { Double($0) }, tensor)
  }

  /// Returns the same for integers.
  static func encode(_ values: [Int64], _ tensor: TensorSpec) throws -> Data {
    try check(values.count, tensor)
    if tensor.scale != 0 { return quantized(values.map { Double($0) }, tensor) }
    switch tensor.dtype {
    case .float32: return bytes(values.map { Float($0) })
    case .float64: return bytes(values.map { Double($0) })
    default: return stored(values, tensor.dtype)
    }
  }

  private static func check(_ count: Int, _ tensor: TensorSpec) throws {
    if count != tensor.count {
      throw TensorError.wrongCount(name: tensor.name, expected: tensor.count, actual: count)
    }
  }

  private static func quantized(_ values: [Double], _ tensor: TensorSpec) -> Data {
    let (low, high) = limits(tensor.dtype)
    let integers: [Int64] = values.map { value in
      let steps = (value / tensor.scale).rounded(.toNearestOrEven) + Double(tensor.zeroPoint)
      return Int64(min(max(steps, low), high))
    }
    return stored(integers, tensor.dtype)
  }

  private static func limits(_ dtype: TensorDtype) -> (Double, Double) {
    switch dtype {
    case .int8: return (-128, 127)
    case .uint8: return (0, 255)
    case .int16: return (-32768, 32767)
    default: return (Double(Int32.min), Double(Int32.max))
    }
  }

  private static func stored(_ integers: [Int64], _ dtype: TensorDtype) -> Data {
    switch dtype {
    case .int64: return bytes(integers)
    case .int32: return bytes(integers.map { Int32(truncatingIfNeeded: $0) })
    case .int16: return bytes(integers.map { Int16(truncatingIfNeeded: $0) })
    case .bool: return bytes(integers.map { UInt8($0 == 0 ? 0 : 1) })
    default: return bytes(integers.map { UInt8(truncatingIfNeeded: $0) })
    }
  }

  private static func bytes<Element>(_ values: [Element]) -> Data {
    return values.withUnsafeBytes { Data($0) }
  }

  /// Returns the numbers that a tensor holds.
  static func decode(_ content: Data, _ tensor: TensorSpec) throws -> [Float] {
    switch tensor.dtype {
    case .float32: return elements(content, as: Float.self)
    case .float64: return elements(content, as: Double.self).map { Float($0) }
    default:
      let integers = try self.integers(content, tensor)
      if tensor.scale == 0 { return integers.map { Float($0) } }
      return integers.map { Float(Double($0 - Int64(tensor.zeroPoint)) * tensor.scale) }
    }
  }

  /// Returns the integers that a tensor of integers holds.
  static func integers(_ content: Data, _ tensor: TensorSpec) throws -> [Int64] {
    switch tensor.dtype {
    case .int64: return elements(content, as: Int64.self)
    case .int32: return elements(content, as: Int32.self).map { Int64($0) }
    case .int16: return elements(content, as: Int16.self).map { Int64($0) }
    case .int8: return elements(content, as: Int8.self).map { Int64($0) }
    case .uint8, .bool: return elements(content, as: UInt8.self).map { Int64($0) }
    case .float32, .float64: throw TensorError.unknown(name: tensor.name)
    }
  }

  private static func elements<Element>(_ content: Data, as type: Element.Type) -> [Element] {
    // Array's memory is aligned for its elements; that of Data need not be.
    let count = content.count / MemoryLayout<Element>.stride
    return [Element](unsafeUninitializedCapacity: count) { buffer, initialized in
      _ = content.copyBytes(to: buffer)
      initialized = count
    }
  }

  /// Returns the labels with the highest scores, the best first; of equal scores, the first label. The first row counts.
  static func top(_ scores: [Float], _ labels: [String], count: Int = 1) -> [(label: String, score: Float)] {
    let order = labels.indices.sorted { scores[$0] == scores[$1] ? $0 < $1 : scores[$0] > scores[$1] }
    return order.prefix(count).map { (label: labels[$0], score: scores[$0]) }
  }

  /// Returns the lines of a file of labels.
  static func labels(_ url: URL) throws -> [String] {
    return try String(contentsOf: url, encoding: .utf8).split(separator: "\n").map { String($0) }
  }
}
