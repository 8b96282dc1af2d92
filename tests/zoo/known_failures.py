"""Architectures whose answers differ from PyTorch's, each with the reason. One that agrees must be removed from the list."""

from __future__ import annotations

REASONS: dict[str, str] = {}
