"""Smoke tests of a running server, and requests sent again from a log."""
