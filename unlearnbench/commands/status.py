"""unlearnbench status: how far a plan is; reads the cache and the claims alone."""

from __future__ import annotations

import time
from pathlib import Path

from unlearnbench.commands.parser import Parser
from unlearnbench.errors import DONE, UserError


def main(words: list[str]) -> int:
    """Show what is done, being computed and by whom, failed and why, and left."""
    parser = Parser(
        "unlearnbench status",
        description="Show which stages of a sweep with workers are done, running, failed and left.",
    )
    parser.add_argument(
        "plan",
        type=Path,
        nargs="?",
        metavar="PLAN",
        help="a sweep's folder, or its plan.jsonl (default: the newest below outputs/sweeps)",
    )
    given = parser.parse_args(words)
    from unlearnbench.files.escapes import printable
    from unlearnbench.graph.cache import Cache
    from unlearnbench.runners.claims import Claims
    from unlearnbench.runners.failures import Failures
    from unlearnbench.runs import plan

    file = given.plan or _newest()
    file = file / "plan.jsonl" if file.is_dir() else file
    read = plan.read(file)
    cache = Cache(Path(read.outputs) / "cache")
    keys = {one.key for one in read.entries}
    done = {key for key in keys if cache.has(key)}
    failed = {one["key"]: one for one in Failures(file.parent / "failures").all()}
    held = Claims(cache.folder / "claims").holders()
    mine = {key: who for key, who in held.items() if key in keys} if keys else held
    for who in mine.values():
        took = time.time() - float(who["since"])
        where = f"{who['name']}, process {who['process']}" + (f", job {who['job']}" if who.get("job") else "")
        print(printable(f"running: {who['label']} on {where}, for {took:.0f} s"))
    for one in failed.values():
        print(printable(f"failed: {one['label']}: {str(one['reason']).splitlines()[0]}"))
    left = len(keys - done - failed.keys() - mine.keys())
    print(f"{len(keys)} stages: {len(done)} done, {len(mine)} running, {len(failed)} failed, {left} left")
    return DONE


def _newest() -> Path:
    """Return the plan of the newest sweep below outputs."""
    found = sorted(Path("outputs/sweeps").glob("*/plan.jsonl"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise UserError(
            "there is no plan below outputs/sweeps: only sweeps with workers leave one.\n"
            "Try: unlearnbench status FOLDER/plan.jsonl, or a sweep with runner=local"
        )
    return found[-1]
