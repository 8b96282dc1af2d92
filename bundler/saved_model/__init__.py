"""SavedModels on disk: writing, reading, running, warm-up records."""
