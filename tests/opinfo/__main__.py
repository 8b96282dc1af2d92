"""Runs operators and writes the results as lines of JSON: `python -m tests.opinfo --dtype float32 --out results.jsonl`."""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from pathlib import Path

from tests.opinfo import listed, pool, summary


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dtype", action="append", choices=pool.PLAN, help="default: all")
    parser.add_argument("--ops", default=".*", help="a regular expression of names")
    parser.add_argument("--all", action="store_true", help="run all samples")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("opinfo.jsonl"))
    parser.add_argument("--plan", type=json.loads, help="samples and dynamic samples by dtype, as JSON")
    parser.add_argument("--write", action="store_true", help="write listed.txt; needs a run of all operators")
    parser.add_argument("--seed", type=int, help="shuffle the operators")
    chosen = parser.parse_args()
    dtypes = {d: (None, None) if chosen.all else plan for d, plan in pool.PLAN.items() if d in (chosen.dtype or pool.PLAN)}
    dtypes = chosen.plan or dtypes
    worker = pool.Worker()
    names = [name for name in worker.names(dtypes) if re.fullmatch(chosen.ops, name)]
    worker.close()
    if chosen.seed is not None:
        random.Random(chosen.seed).shuffle(names)
    requests = [pool.Request(name, dtypes) for name in names]
    began = time.monotonic()
    results = []
    with chosen.out.open("w") as file:
        for result in pool.run(requests, chosen.workers):
            print(json.dumps(vars(result)), file=file, flush=True)
            results.append(result)
    unexplained = listed.write(results) if chosen.write else [r for r in results if r.kind != "right" and not listed.reason(r)]
    for result in unexplained:
        print(f"{result.case}: {result.kind}: {result.detail}")
    print("\n".join(summary.table([summary.counts(results)])))
    print(f"{len(results):,} cases of {len(names):,} operators in {time.monotonic() - began:.0f} s with {chosen.workers} workers")


if __name__ == "__main__":
    main()
