// The part of Android's API that an export calls (developer.android.com/reference, API level 36, 2026-11-29).
@file:Suppress("unused", "UNUSED_PARAMETER")

package android.content

import android.content.res.AssetManager

abstract class Context {
    abstract val assets: AssetManager
}
