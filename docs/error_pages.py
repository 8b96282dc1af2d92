"""`python -m docs.error_pages` writes docs/errors/ from the texts in serving/error_pages/."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from serving.error_codes import pages

FOLDER = Path("docs/errors")

_INTRODUCTION = """\
# Errors

Every error that tfbundle reports has a code:

```text
error TFB5101: /tmp is not a bundle: it has no bundle.json.
  to do: give the folder that tfbundle build wrote
```

A code stands for one kind of problem. Its page explains the cause, shows a message, and describes the way out. The same
text is printed by `tfbundle explain TFB5101`, which works offline; `tfbundle explain` lists all codes. In Python, an error has
its code as `exc.code`.
"""


def files() -> dict[str, str]:
    """Return the text of each file of docs/errors/ by name."""
    made = {f"{page.code}.md": page.markdown() for page in pages().values()}
    return {"index.md": _index(), **made}


def _index() -> str:
    parts = [_INTRODUCTION]
    for area, group in groupby(pages().values(), key=lambda page: page.area):
        rows = "\n".join(f"| [{page.code}]({page.code}.md) | {page.title} |" for page in group)
        parts.append(f"## {area}\n\n| Code | Problem |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def main(root: Path = Path()) -> None:
    """Write the pages and the index below `root`, and delete pages of codes that no longer exist."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    texts = files()
    for stale in folder.glob("*.md"):
        if stale.name not in texts:
            stale.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    print(f"wrote {len(texts)} files into {folder}")


if __name__ == "__main__":
    main()
