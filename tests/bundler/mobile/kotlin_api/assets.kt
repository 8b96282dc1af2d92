// The part of Android's API that an export calls (developer.android.com/reference, API level 36, 2026-11-29).
@file:Suppress("unused", "UNUSED_PARAMETER")

package android.content.res

import java.io.Closeable
import java.io.FileDescriptor
import java.io.InputStream

abstract class AssetManager {
    abstract fun open(fileName: String): InputStream

    abstract fun openFd(fileName: String): AssetFileDescriptor
}

abstract class AssetFileDescriptor : Closeable {
    abstract val fileDescriptor: FileDescriptor
    abstract val startOffset: Long
    abstract val declaredLength: Long
}
