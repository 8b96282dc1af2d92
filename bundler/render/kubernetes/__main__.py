"""Update the copies of the shell scripts in k8s/ from their sources: `python -m bundler.render.kubernetes`."""

from __future__ import annotations

from bundler.render.kubernetes.scripts import write_copies

if __name__ == "__main__":
    for path in write_copies():
        print(path)
