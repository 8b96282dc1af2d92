"""`python -m bundler.spec` writes the files that are generated from the models, into the repository it runs in."""

from __future__ import annotations

from pathlib import Path

from bundler.spec.keywords_file import keywords_text
from bundler.spec.options_table import options_text

FILES = {"bundler/spec/build_options.py": keywords_text, "docs/options.md": options_text}


def main(root: Path = Path()) -> None:
    """Write each generated file below `root`."""
    for name, text in FILES.items():
        (root / name).write_text(text(), "utf-8")
        print(f"wrote {name}")


if __name__ == "__main__":
    main()
