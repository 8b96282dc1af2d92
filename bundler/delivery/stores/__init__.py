"""Bundles in stores of files, such as buckets, by fsspec.

    store       the folder of a bundle in a store: list, read, write, checksums that the store keeps
    failures    what a library's exception means to a user
    lease       one command at a time writes
    publish     upload what is new, bundle.json last
    download    fetch what is needed, check it, move it into place
    mirror      a store's bundle in a local folder, to read or to build in
    check       compare a store with its bundle.json, without a download where possible

Beside the files of the bundle, a store has the folder `.tfbundle/` (`private`), which no reader of models looks into.
"""
