"""A bundle on disk: its layout, bundle.json, labels, and the publication of new versions."""
