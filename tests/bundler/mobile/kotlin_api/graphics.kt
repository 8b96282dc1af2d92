// The part of Android's API that an export calls (developer.android.com/reference, API level 36, 2026-11-29).
@file:Suppress("unused", "UNUSED_PARAMETER")

package android.graphics

abstract class Bitmap {
    abstract val width: Int
    abstract val height: Int

    abstract fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int)
}
