"""Smoke tests of a running server, and replay of logged requests."""
