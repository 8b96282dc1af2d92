"""Architectures that do not agree with PyTorch, each with its reason. Strict: one that agrees must leave the list."""

from __future__ import annotations

REASONS: dict[str, str] = {}
