"""A bundle in a registry: the image of its models, the artifact with the whole bundle, and what is attached to them.

`registry` speaks with one repository of a registry, through `transport`, which is oras-py with its gaps filled; `descriptors` has
the documents of the OCI image specification. Only `transport` and `credentials` import oras, so the other modules can be imported
without the extra.
"""
