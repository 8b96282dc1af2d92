// Converts images and numbers to the tensors of a .tflite file, and its outputs to numbers and labels.
//
// Kotlin's and Java's standard libraries alone; the libraries for other languages in this export compute the same, bit for bit:
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

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sin

enum class TensorDtype(val bytes: Int, val low: Double = 0.0, val high: Double = 0.0) {
    FLOAT32(4),
    FLOAT64(8),
    INT64(8),
    INT32(4, Int.MIN_VALUE.toDouble(), Int.MAX_VALUE.toDouble()),
    INT16(2, -32768.0, 32767.0),
    INT8(1, -128.0, 127.0),
    UINT8(1, 0.0, 255.0),
    BOOL(1),
}

/** An input or output. Quantized integers mean scale * (integer - zeroPoint); a scale of 0 is none. */
class TensorSpec(
    val name: String,
    val dtype: TensorDtype,
    val shape: List<Int>,
    val scale: Double = 0.0,
    val zeroPoint: Int = 0,
) {
    val count: Int = shape.fold(1) { product, size -> product * size }

    /** Returns a buffer for the content, as org.tensorflow.lite.Interpreter takes it. */
    fun buffer(): ByteBuffer = ByteBuffer.allocateDirect(count * dtype.bytes).order(ByteOrder.nativeOrder())
}

/** One file of a model. */
class VariantSpec(val name: String, val file: String, val inputs: List<TensorSpec>, val outputs: List<TensorSpec>)

enum class Interpolation { NEAREST, BILINEAR, BICUBIC, LANCZOS }

/**
 * How an image becomes an input.
 *
 * @param resize the size before the crop: the shorter side, or height and width; empty to resize to the input's size
 * @param mean of pixels of 0 to 255: one number, or one per channel, as [std]
 */
class ImageSpec(
    val height: Int,
    val width: Int,
    val channels: Int,
    val channelsFirst: Boolean,
    val bgr: Boolean,
    val resize: List<Int>,
    val interpolation: Interpolation,
    val mean: List<Double>,
    val std: List<Double>,
)

/** 8-bit pixels, row by row, with their channels together. */
class Pixels(val height: Int, val width: Int, val channels: Int, val data: ByteArray) {
    fun at(index: Int): Int = data[index].toInt() and 0xff
}

object TfbundleTensors {
    private const val PRECISION_BITS = 22 // of a filter's weights (Pillow, src/libImaging/Resample.c)

    private class Taps(val start: Int, val weights: IntArray)

    /** Returns the content of an image input for an RGB image of any size. */
    fun prepareImage(rgb: Pixels, image: ImageSpec, tensor: TensorSpec): ByteBuffer {
        val cut = fit(rgb, image)
        val raw = tensor.dtype == TensorDtype.UINT8 && tensor.scale == 0.0
        val area = image.height * image.width
        val values = FloatArray(area * image.channels)
        for (place in 0 until area) {
            for (channel in 0 until image.channels) {
                val source = if (image.bgr) image.channels - 1 - channel else channel
                val pixel = cut.at(place * image.channels + source).toDouble()
                val mean = image.mean[if (image.mean.size == 1) 0 else channel]
                val std = image.std[if (image.std.size == 1) 0 else channel]
                val index = if (image.channelsFirst) channel * area + place else place * image.channels + channel
                values[index] = (if (raw) pixel else (pixel - mean) / std).toFloat()
            }
        }
        return encode(values, tensor)
    }

    /** Returns RGB pixels in the size and number of channels of the input, RGB or grey. */
    fun fit(rgb: Pixels, image: ImageSpec): Pixels {
        require(rgb.channels == 3 && rgb.height > 0 && rgb.width > 0 && rgb.data.size == rgb.height * rgb.width * 3) {
            "an image has height * width * 3 bytes, RGB"
        }
        val pixels = if (image.channels == 1) grey(rgb) else rgb
        val (height, width) = sizeBeforeCrop(rgb, image)
        val resized = resize(pixels, height, width, image.interpolation)
        val top = half(height - image.height)
        val left = half(width - image.width)
        val stride = image.width * image.channels
        val data = ByteArray(image.height * stride)
        for (row in 0 until image.height) {
            val start = ((row + top) * width + left) * image.channels
            resized.data.copyInto(data, row * stride, start, start + stride)
        }
        return Pixels(image.height, image.width, image.channels, data)
    }

    private fun grey(rgb: Pixels): Pixels {
        val data = ByteArray(rgb.height * rgb.width) {
            val sum = 19595 * rgb.at(3 * it) + 38470 * rgb.at(3 * it + 1) + 7471 * rgb.at(3 * it + 2) + 32768
            (sum shr 16).toByte()
        }
        return Pixels(rgb.height, rgb.width, 1, data)
    }

    private fun sizeBeforeCrop(pixels: Pixels, image: ImageSpec): Pair<Int, Int> {
        if (image.resize.isEmpty()) return Pair(image.height, image.width)
        if (image.resize.size == 2) return Pair(image.resize[0], image.resize[1])
        val shorter = min(pixels.height, pixels.width)
        val side = image.resize[0].toLong()
        return Pair((side * pixels.height / shorter).toInt(), (side * pixels.width / shorter).toInt())
    }

    private fun half(size: Int): Int {
        val half = size / 2
        return if (size % 2 != 0) half + half % 2 else half
    }

    /** Resizes as Pillow does. */
    fun resize(pixels: Pixels, height: Int, width: Int, interpolation: Interpolation): Pixels {
        if (interpolation == Interpolation.NEAREST) return resizeToNearest(pixels, height, width)
        if (pixels.height - height > 2 * max(pixels.width - width, 0)) {
            return stretchWidth(stretchHeight(pixels, height, interpolation), width, interpolation)
        }
        return stretchHeight(stretchWidth(pixels, width, interpolation), height, interpolation)
    }

    private fun resizeToNearest(pixels: Pixels, height: Int, width: Int): Pixels {
        val rows = nearest(pixels.height, height)
        val columns = nearest(pixels.width, width)
        val channels = pixels.channels
        val data = ByteArray(height * width * channels)
        for (row in 0 until height) {
            for (column in 0 until width) {
                val start = (rows[row] * pixels.width + columns[column]) * channels
                pixels.data.copyInto(data, (row * width + column) * channels, start, start + channels)
            }
        }
        return Pixels(height, width, channels, data)
    }

    private fun nearest(oldSize: Int, newSize: Int): IntArray {
        val step = oldSize.toDouble() / newSize
        var place = step * 0.5
        return IntArray(newSize) { place.toInt().also { place += step } }
    }

    private fun stretchWidth(pixels: Pixels, width: Int, interpolation: Interpolation): Pixels {
        if (pixels.width == width) return pixels
        val data = stretch(pixels, pixels.height, pixels.width, width, pixels.channels, interpolation)
        return Pixels(pixels.height, width, pixels.channels, data)
    }

    private fun stretchHeight(pixels: Pixels, height: Int, interpolation: Interpolation): Pixels {
        if (pixels.height == height) return pixels
        val data = stretch(pixels, 1, pixels.height, height, pixels.width * pixels.channels, interpolation)
        return Pixels(height, pixels.width, pixels.channels, data)
    }

    /** Resamples one axis: there are `outer` lines of the axis, whose pixels are `inner` bytes. */
    private fun stretch(
        pixels: Pixels, outer: Int, oldSize: Int, newSize: Int, inner: Int, interpolation: Interpolation,
    ): ByteArray {
        val all = weights(oldSize, newSize, interpolation)
        val result = ByteArray(outer * newSize * inner)
        for (line in 0 until outer) {
            for (index in 0 until newSize) {
                val taps = all[index]
                for (byte in 0 until inner) {
                    var sum = 1 shl (PRECISION_BITS - 1)
                    for (tap in taps.weights.indices) {
                        sum += taps.weights[tap] * pixels.at((line * oldSize + taps.start + tap) * inner + byte)
                    }
                    result[(line * newSize + index) * inner + byte] = (sum shr PRECISION_BITS).coerceIn(0, 255).toByte()
                }
            }
        }
        return result
    }

    private fun weights(oldSize: Int, newSize: Int, interpolation: Interpolation): List<Taps> {
        val reach = when (interpolation) {
            Interpolation.BILINEAR -> 1.0
            Interpolation.BICUBIC -> 2.0
            else -> 3.0
        }
        val scale = oldSize.toDouble() / newSize
        val widening = max(scale, 1.0)
        val support = reach * widening
        return List(newSize) { index ->
            val center = (index + 0.5) * scale
            val start = max((center - support + 0.5).toInt(), 0)
            val end = min((center + support + 0.5).toInt(), oldSize)
            val row = DoubleArray(end - start) { weigh(interpolation, (it + start - center + 0.5) * (1.0 / widening)) }
            var total = 0.0
            for (weight in row) total += weight
            val fixed = IntArray(row.size) {
                val weight = row[it] / total * (1 shl PRECISION_BITS)
                (if (weight < 0) weight - 0.5 else weight + 0.5).toInt()
            }
            Taps(start, fixed)
        }
    }

    private fun weigh(interpolation: Interpolation, signed: Double): Double {
        val x = abs(signed)
        return when (interpolation) {
            Interpolation.BILINEAR -> max(1 - x, 0.0)
            Interpolation.BICUBIC -> when {
                x < 1 -> (1.5 * x - 2.5) * x * x + 1
                x < 2 -> (((x - 5) * x + 8) * x - 4) * -0.5
                else -> 0.0
            }
            else -> if (-3 <= signed && signed < 3) sinc(signed) * sinc(signed / 3) else 0.0
        }
    }

    private fun sinc(x: Double): Double = if (x == 0.0) 1.0 else sin(x * Math.PI) / (x * Math.PI)

    /** Returns the content of a tensor for numbers: quantized if the tensor is, otherwise converted to its type. */
    fun encode(values: FloatArray, tensor: TensorSpec): ByteBuffer {
        require(values.size == tensor.count) { "${tensor.name} has ${tensor.count} elements, not ${values.size}" }
        val buffer = tensor.buffer()
        for (value in values) put(buffer, value.toDouble(), value.toLong(), tensor)
        buffer.rewind()
        return buffer
    }

    /** The same for integers. */
    fun encode(values: LongArray, tensor: TensorSpec): ByteBuffer {
        require(values.size == tensor.count) { "${tensor.name} has ${tensor.count} elements, not ${values.size}" }
        val buffer = tensor.buffer()
        for (value in values) put(buffer, value.toDouble(), value, tensor)
        buffer.rewind()
        return buffer
    }

    private fun put(buffer: ByteBuffer, value: Double, whole: Long, tensor: TensorSpec) {
        val dtype = tensor.dtype
        val integer = if (tensor.scale == 0.0) {
            whole
        } else {
            (Math.rint(value / tensor.scale) + tensor.zeroPoint).coerceIn(dtype.low, dtype.high).toLong()
        }
        when (dtype) {
            TensorDtype.FLOAT32 -> buffer.putFloat(value.toFloat())
            TensorDtype.FLOAT64 -> buffer.putDouble(value)
            TensorDtype.INT64 -> buffer.putLong(integer)
            TensorDtype.INT32 -> buffer.putInt(integer.toInt())
            TensorDtype.INT16 -> buffer.putShort(integer.toShort())
            TensorDtype.INT8, TensorDtype.UINT8 -> buffer.put(integer.toByte())
            TensorDtype.BOOL -> buffer.put((if (value != 0.0) 1 else 0).toByte())
        }
    }

    /** Returns the numbers that a tensor holds. */
    fun decode(content: ByteBuffer, tensor: TensorSpec): FloatArray {
        content.rewind()
        return FloatArray(tensor.count) {
            when (tensor.dtype) {
                TensorDtype.FLOAT32 -> content.getFloat()
                TensorDtype.FLOAT64 -> content.getDouble().toFloat()
                else -> {
                    val integer = integer(content, tensor.dtype)
                    if (tensor.scale == 0.0) integer.toFloat() else ((integer - tensor.zeroPoint) * tensor.scale).toFloat()
                }
            }
        }
    }

    /** Returns the integers that a tensor of integers holds. */
    fun integers(content: ByteBuffer, tensor: TensorSpec): LongArray {
        content.rewind()
        return LongArray(tensor.count) { integer(content, tensor.dtype) }
    }

    private fun integer(content: ByteBuffer, dtype: TensorDtype): Long = when (dtype) {
        TensorDtype.INT64 -> content.getLong()
        TensorDtype.INT32 -> content.getInt().toLong()
        TensorDtype.INT16 -> content.getShort().toLong()
        TensorDtype.INT8 -> content.get().toLong()
        TensorDtype.UINT8, TensorDtype.BOOL -> content.get().toLong() and 0xff
        else -> throw IllegalArgumentException("$dtype holds no integers")
    }

    /** Returns the labels with the highest scores, the best first; of equal scores, the first label. The first row counts. */
    fun top(scores: FloatArray, labels: List<String>, count: Int = 1): List<Pair<String, Float>> =
        labels.indices.sortedByDescending { scores[it] }.take(count).map { Pair(labels[it], scores[it]) }
}
