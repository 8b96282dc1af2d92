"""A bundle on disk: its layout, bundle.json, labels, and how new versions get in."""
