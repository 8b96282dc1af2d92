"""The papers of a bundle's supply chain: a bill of materials, the provenance of each version, and a signature of all files.

The bill of materials and the provenance are rendered from bundle.json alone, so they can be written again at any time.
"""
