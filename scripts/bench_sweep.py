#!/usr/bin/env python3
"""Measure what a sweep costs beyond its stages, and what a plan of ten thousand jobs takes.

    python scripts/bench_sweep.py [--threads N] [--images N] [--jobs 10000]

The sweep has 24 jobs, eight methods with three batch sizes, of `tiny_resnet` on `fashion` over one original. Its wall
time is printed beside the sum of its stages' seconds and one start of Python (measured here), with all that a run
imports: torch, what torch imports at a first step of an optimiser, and scikit-learn for metrics. Of the plan:
seconds, the peak of resident memory, and how much of what is resident at the end is the process's own and not mapped
from files, such as torch's libraries. `import torch` alone is beside it. Nothing else should run meanwhile.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWEEP = (
    "-m", "model=tiny_resnet", "dataset=fashion", "forget=random",
    "train=fast", "train.epochs=2", "method=finetune,gradient_ascent,npo,grad_diff,random_label,delete,scrub,ssd",
    "method.batch_size=64,128,256",
)  # fmt: skip
PLAN = ("experiment=smoke", "dataset=fashion", "method=none,finetune,distill,npo,ssd")
METHODS = 5
START = "import torch, torch._dynamo, sklearn.svm, unlearnbench.runs.job"
MEMORY = """
import re, time
import torch
def memory():
    text = open("/proc/self/status").read()
    return {name: int(re.search(name + r":\\s+(\\d+)", text)[1]) // 1024 for name in ("VmHWM", "RssAnon")}
torch_alone = memory()
from unlearnbench import cli
began = time.perf_counter()
cli.dispatch(WORDS)
print("MEASURED", time.perf_counter() - began, torch_alone, memory())
"""


def run(words: list[str], folder: Path, threads: int) -> tuple[float, str]:
    """Run a command of Python in a folder; return its seconds and what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr[-4000:])
    return time.perf_counter() - began, done.stdout


def sweep(folder: Path, threads: int, images: str) -> None:
    """Print the ratio of a sweep of 24 jobs."""
    start = min(run(["-c", START], folder, threads)[0] for _ in range(3))
    words = [*SWEEP, f"dataset.limit={images}", f"threads={threads}", "plots=false", f"outputs={folder}/outputs"]
    wall, _ = run(["-m", "unlearnbench", "run", *words], folder, threads)
    facts = [json.loads(file.read_text()) for file in (folder / "outputs" / "cache" / "stages").glob("*/facts.json")]
    seconds = sum(float(one["seconds"]) for one in facts)
    print(f"{len(list((folder / 'outputs' / 'runs').iterdir()))} jobs, {len(facts)} stages: wall {wall:.1f} s")
    print(f"stages {seconds:.1f} s + one start {start:.1f} s; ratio {wall / (seconds + start):.2f}")


def plan(folder: Path, threads: int, jobs: int) -> None:
    """Print time and memory of a plan."""
    words = ["plan", "-m", *PLAN, f"seed=range(0,{jobs // METHODS})", f"outputs={folder}/planned"]
    _, said = run(["-c", MEMORY.replace("WORDS", repr(words))], folder, threads)
    print(said.splitlines()[-2])
    print(re.sub(r"MEASURED (\S+) (.*?}) ", r"\1 s; MiB after import torch \2, at the end ", said.splitlines()[-1]))


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", default="null", help="training images of the sweep; null for all")
    parser.add_argument("--jobs", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sweep(Path(name), given.threads, given.images)
        plan(Path(name), given.threads, given.jobs)


if __name__ == "__main__":
    main()
