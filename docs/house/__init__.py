"""Measures the structure of the code: rooms, arrows, circles, functions, twins, tests (`make house`).

A room is a folder of `bundler/`, or one of its loose modules; `serving/` is one room here, and its own folders are counted apart.
An arrow is an import from one room to another, wherever it stands: at the top of a file, inside a function, or under
`TYPE_CHECKING`.
"""
