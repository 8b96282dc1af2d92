"""`make docs`: build the site into build/site with Zensical. A link or an anchor that leads nowhere is an error."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from docs.site.pages import ROOT, write_sources


def main() -> int:
    """Build the site; return Zensical's exit code. Its own report of a strict build's failure ends in a traceback."""
    parser = argparse.ArgumentParser(prog="python -m docs.site", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "build", help="gets site/ and site-pages/, its sources")
    arguments = parser.parse_args()
    if find_spec("zensical") is None:
        print("error: zensical is not installed\nto do: pip install -e '.[docs]'", file=sys.stderr)
        return 1
    folder = arguments.folder.resolve()
    configuration = write_sources(folder)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", str(configuration)]
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    report, _, traceback = done.stdout.partition("Traceback")
    print(report.rstrip())
    if done.returncode == 0:
        print(f"The site is in {folder / 'site'}; open {folder / 'site' / 'index.html'}")
    else:
        reason = traceback.strip().rpartition("\n")[2] or "see above"
        print(f"error: the site is not built ({reason})\nto do: mend the pages or docstrings that are named", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
