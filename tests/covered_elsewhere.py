"""Modules without a test file of their own name, each with the test file that covers it (see tests/test_house.py)."""

from __future__ import annotations

COVERED: dict[str, str] = {}
