// The part of com.google.ai.edge.litert that an export calls: LiteRT's
// litert/kotlin/src/main/kotlin/com/google/ai/edge/litert/{Common,Model,TensorBuffer}.kt at f674577 (2026-08-21).
@file:Suppress("unused", "UNUSED_PARAMETER")

package com.google.ai.edge.litert

import android.content.res.AssetManager

enum class Accelerator { NONE, CPU, GPU, NPU }

class Environment private constructor()

abstract class JniHandle internal constructor() : AutoCloseable {
    final override fun close(): Unit = error("a declaration")
}

class TensorBuffer internal constructor() : JniHandle() {
    fun writeInt(data: IntArray): Unit = error("a declaration")
    fun writeFloat(data: FloatArray): Unit = error("a declaration")
    fun writeInt8(data: ByteArray): Unit = error("a declaration")
    fun writeBoolean(data: BooleanArray): Unit = error("a declaration")
    fun writeLong(data: LongArray): Unit = error("a declaration")
    fun readInt(): IntArray = error("a declaration")
    fun readFloat(): FloatArray = error("a declaration")
    fun readInt8(): ByteArray = error("a declaration")
    fun readBoolean(): BooleanArray = error("a declaration")
    fun readLong(): LongArray = error("a declaration")
}

class CompiledModel private constructor() : JniHandle() {
    class Options constructor(internal val accelerators: Set<Accelerator>) {
        constructor(vararg accelerators: Accelerator) : this(setOf(*accelerators))

        companion object {
            @JvmStatic
            val CPU = Options(Accelerator.CPU)
        }
    }

    fun createInputBuffer(inputName: String, signature: String = ""): TensorBuffer = error("a declaration")

    fun createOutputBuffer(outputName: String, signature: String = ""): TensorBuffer = error("a declaration")

    fun run(inputs: Map<String, TensorBuffer>, outputs: Map<String, TensorBuffer>, signature: String = ""): Unit =
        error("a declaration")

    companion object {
        @JvmStatic
        fun create(
            assetManager: AssetManager,
            assetName: String,
            options: Options = Options.CPU,
            optionalEnv: Environment? = null,
        ): CompiledModel = error("a declaration")

        @JvmStatic
        fun create(filePath: String, options: Options = Options.CPU, optionalEnv: Environment? = null): CompiledModel =
            error("a declaration")
    }
}
