"""Measures the structure of the code: rooms, arrows, circles, functions, twins and tests (`make house`).

A room is a folder of `bundler/`, or a module directly in it. `serving/` is a single room here, and its own folders are counted
separately. An arrow is an import from one room to another: at the top of a file, inside a function, or under `TYPE_CHECKING`.
A circle is a group of modules or rooms that import each other. Twins are two places with the same code.
"""
