"""Replay of logged requests against two versions of a model, to see where they differ."""
