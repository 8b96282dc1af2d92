"""Update what is made in k8s/: copies of the shell scripts, alerts and dashboard. `python -m bundler.render.kubernetes`."""

from __future__ import annotations

from bundler.render.kubernetes.monitoring import write_example
from bundler.render.kubernetes.scripts import write_copies

if __name__ == "__main__":
    for path in (*write_copies(), *write_example()):
        print(path)
