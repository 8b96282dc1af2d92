"""What a notebook shows for objects of both packages."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from serving.texts import printable


def html_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as HTML; every text in it is escaped."""

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(f"<{tag}>{html.escape(printable(text))}</{tag}>" for text in texts)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    head = f"<thead><tr>{cells('th', columns)}</tr></thead>"
    return f"<table>{cells('caption', [title])}{head}<tbody>{body}</tbody></table>"
