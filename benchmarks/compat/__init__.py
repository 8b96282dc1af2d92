"""Which releases of tfbundle's dependencies pass its tests, and which TensorFlow releases load its SavedModels.

`make compat` runs both through noxfile.py, one environment at a time, and writes the tables of docs/compatibility.md.
"""
