"""Make the wheel and the sdist in dist/: `make dist`.

Both are made twice, from two copies of the tree at different times, and must be the same byte for byte: anyone can then compare
what is on PyPI with the sources. The wheel is made from the sdist, which therefore has all that a build needs.
`twine check --strict` reads the metadata, and check-wheel-contents the list of files.

SOURCE_DATE_EPOCH is the time in the archives; by default that of the last commit, and outside of git that of the changelog.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "dist"
PATTERNS = ("tfbundle-*.whl", "tfbundle-*.tar.gz")


def source_date(root: Path = ROOT) -> str:
    """Return the time in the archives, in seconds since 1970."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return given
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return str(int((root / "CHANGELOG.md").stat().st_mtime))


def files(folder: Path) -> list[Path]:
    """Return the wheel and the sdist in a folder."""
    return sorted(path for pattern in PATTERNS for path in folder.glob(pattern))


def build(root: Path, out: Path, date: str) -> dict[str, str]:
    """Make the sdist from the tree, and the wheel from the sdist. Return their hashes by name."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(root)]
    done = subprocess.run(
        command, env=os.environ | {"SOURCE_DATE_EPOCH": date}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        sys.exit(f"The build failed:\n{done.stdout}")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files(out)}


def copy(root: Path, target: Path) -> Path:
    """Copy what git would commit, and nothing that is ignored, such as caches and environments; outside of git, everything."""
    if not (root / ".git").exists():
        return Path(shutil.copytree(root, target, ignore=shutil.ignore_patterns(".venv", "dist", "__pycache__")))
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, target / name)
    return target


def main(root: Path = ROOT, out: Path = OUT) -> None:
    """Build twice, compare, check, and put the files into `out`."""
    date = source_date(root)
    with tempfile.TemporaryDirectory(prefix="tfbundle-dist-") as name:
        work = Path(name)
        trees = [copy(root, work / "first" / "tfbundle"), copy(root, work / "second" / "a-longer-path" / "tfbundle")]
        hashes = [build(tree, work / f"out{number}", date) for number, tree in enumerate(trees)]
        made = files(work / "out0")
        if len(made) != len(PATTERNS) or hashes[0] != hashes[1]:
            sys.exit(f"The two builds differ:\n{hashes[0]}\n{hashes[1]}")
        wheel = next(path for path in made if path.suffix == ".whl")
        checks = (["twine", "check", "--strict", *map(str, made)], ["check_wheel_contents", str(wheel)])
        for module, *arguments in checks:
            if subprocess.run([sys.executable, "-m", module, *arguments], cwd=root, check=False).returncode:
                sys.exit(f"{module} has found a problem.")
        out.mkdir(exist_ok=True)
        for old in files(out):
            old.unlink()
        for path in made:
            shutil.copy(path, out)
            print(f"{hashes[0][path.name]}  dist/{path.name}  {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
