"""A worker whose first case ends the process, for the test of `tests.opinfo.pool`. It imports neither torch nor TensorFlow."""

from __future__ import annotations

import json
import os
import sys

CASES = ["add float32 0 static", "add float32 1 static"]


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        left = [case for case in CASES if case not in request["skip"]]
        for batch in [[case] for case in left] if request["alone"] else [left]:
            print(json.dumps({"begin": batch}), flush=True)
            if CASES[0] in batch:
                os.abort()
            for case in batch:
                print(json.dumps({"case": case, "kind": "right", "detail": ""}), flush=True)
        print(json.dumps({"done": request["op"]}), flush=True)


if __name__ == "__main__":
    main()
