"""Exports what an app needs from a bundle: .tflite files with metadata, checksums, and code in five languages.

- export.py: writes the folder
- model.py: reads a model and its variants from a bundle; the only reader of bundle.json in this package
- metadata.py: the metadata of a model's files (`bundler.tflite.packed` writes it into a file)
- labels.py: labels of a classifier
- literals.py: string literals of these languages
- tensors.py: preprocessing, quantization and labels; exports have it as their library for Python
- calls.py: inputs, outputs and preprocessing, as the templates need them
- golden.py: golden data for the tests of the code
- snippets.py: the code in Python, C++, JavaScript, Kotlin and Swift
- web.py: the page that runs the files in a browser
- readme.py: README.md
- exported.py: the record of an exported model
"""

from bundler.mobile.export import ExportOptions, export_mobile

__all__ = ["ExportOptions", "export_mobile"]
