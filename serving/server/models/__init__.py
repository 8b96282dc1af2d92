"""Which models and versions are served: config, version folders, loading and unloading, states and labels."""
