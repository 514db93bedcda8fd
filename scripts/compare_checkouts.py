"""Compare the numbers of two checkouts: the same commands in both, and metrics.csv byte by byte.

    scripts/compare_checkouts.py OLD NEW [NAME ...]

OLD and NEW are folders of the repository at two commits; both are run with this Python, one after the other, with one
thread each. The run's number, and the column request, are left out. Exit code 1 where a number differs.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

COMMANDS = {
    "smoke": ("experiment=smoke",),
    "smoke_text": ("experiment=smoke_text",),
    "npo": ("dataset=clinical_notes", "model=llama_tiny", "method=npo"),
    "table2": ("experiment=paper_table2", "scale=smoke"),
    "readme": ("method=distill", "model=resnet18"),
}
LEFT_OUT = {"run_id", "request"}


def main(old: Path, new: Path, names: list[str]) -> int:
    """Run each command in both checkouts; print what differs, and return the exit code."""
    worst = 0
    for name in names or COMMANDS:
        with tempfile.TemporaryDirectory() as place:
            found = [
                _numbers(checkout, COMMANDS[name], Path(place) / side) for checkout, side in ((old, "a"), (new, "b"))
            ]
        lines = [line for pair in zip(*found, strict=False) if pair[0] != pair[1] for line in pair]
        same = found[0] == found[1] != []
        print(f"{name}: {len(found[0])} rows, {'equal' if same else 'DIFFERENT'}", flush=True)
        print("".join(f"  {line}\n" for line in lines[:10]), end="")
        worst = max(worst, 0 if same else 1)
    return worst


def _numbers(checkout: Path, words: tuple[str, ...], outputs: Path) -> list[str]:
    """Run a command and return the rows of all its metrics.csv, sorted by run, without what is left out."""
    command = [sys.executable, "-P", "-m", "unlearnbench", "run", *words, f"outputs={outputs}"]
    env = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{checkout}: {' '.join(words)} ended with {done.returncode}\n{done.stderr[-2000:]}")
    tables = []
    for file in outputs.glob("runs/*/metrics.csv"):
        with file.open(newline="") as table:
            rows = list(csv.DictReader(table))
        tables.append([",".join(v for k, v in row.items() if k not in LEFT_OUT) for row in rows])
    return [row for table in sorted(tables) for row in table]


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
