// The part of org.tensorflow.lite that an export calls: LiteRT's
// litert/kotlin/src/copied_from_tflite/java/org/tensorflow/lite/Interpreter.java and InterpreterApi.java at f674577 (2026-08-21).
@file:Suppress("unused", "UNUSED_PARAMETER")

package org.tensorflow.lite

import java.nio.ByteBuffer

class Interpreter(byteBuffer: ByteBuffer, options: Options) : AutoCloseable {
    class Options {
        fun setNumThreads(numThreads: Int): Options = this
    }

    fun runSignature(inputs: Map<String, Any>, outputs: Map<String, Any>, signatureKey: String): Unit = error("a declaration")

    override fun close(): Unit = error("a declaration")
}
