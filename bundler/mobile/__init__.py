"""What an app needs of a bundle: .tflite files with metadata, checksums, and the call in four languages.

    metadata_schema.py  TFLite's metadata as a FlatBuffer, written and read
    metadata.py         what it says of a model
    packed.py           a .tflite file with its metadata and associated files
    model.py            a model of a bundle as this package sees it: the one reader of bundle.json
    snippets.py         the calls in Python, Kotlin, Swift and C++
    export.py           the folder
"""

from bundler.mobile.export import ExportOptions, export_mobile

__all__ = ["ExportOptions", "export_mobile"]
