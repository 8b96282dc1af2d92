"""SavedModels on disk: writing, reading and running them, and their warm-up records."""
