#!/usr/bin/env python3
"""Make docs/leaderboard.md from bundles, after checking them.

    unlearnbench run experiment=methods_images runner=local runner.workers=2
    unlearnbench report outputs/sweeps/DATE --bundle methods_images.zip
    python scripts/leaderboard_page.py methods_images.zip [MORE.zip ...]

A bundle's name is that of the preset that made it. Raises SystemExit where a bundle has a problem.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from unlearnbench.bundles.check import Checked, check
from unlearnbench.bundles.unpack import unpacked
from unlearnbench.report import write

PAGE = Path(__file__).parents[1] / "docs" / "leaderboard.md"
HEAD = """\
# Leaderboard

Every table here is made from a bundle of rows and scores, whose numbers were computed again from the scores before the
page was written ([what that shows](evidence.md#bundles)). The bundles are too large for this repository. These commands
make them:

```
{commands}
python scripts/leaderboard_page.py {names}
```

How to read the columns: [reading the numbers](reading-the-numbers.md). What the methods are: [methods](methods.md).
"""
COMMANDS = """\
unlearnbench run experiment={preset} runner=local runner.workers=2 hydra.sweep.dir={preset}
unlearnbench report {preset} --bundle {preset}.zip
unlearnbench verify {preset}.zip"""


def main(names: list[str]) -> None:
    """Check the bundles and write the page."""
    bundles = [Path(name) for name in names]
    presets = [bundle.stem for bundle in bundles]
    parts = [part(bundle) for bundle in bundles]
    commands = "\n".join(COMMANDS.format(preset=preset) for preset in presets)
    head = HEAD.format(commands=commands, names=" ".join(bundle.name for bundle in bundles))
    PAGE.write_text("\n".join([head, *parts]), encoding="utf-8")


def part(bundle: Path) -> str:
    """Return the section of one bundle."""
    found = check(bundle)
    if found.problems:
        sys.exit("\n".join(found.lines()))
    with unpacked(bundle) as one, TemporaryDirectory() as place:
        text = (write([one.runs], Path(place) / "report") / "leaderboard.md").read_text(encoding="utf-8")
    text = text.partition("\n")[2].strip()
    tables = re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE)
    return f"## {bundle.stem}\n\n{said(found)}\n\n{tables}\n"


def said(found: Checked) -> str:
    """Return what was checked, in Markdown."""
    reported = ", ".join(["seconds", *(f"`{name}`" for name in sorted(found.reported))])
    return (
        f"{found.runs} runs; {found.numbers:,} numbers computed again from scores, the farthest {found.farthest:.1g} "
        f"from its row. Taken as reported: {reported}. SHA-256 of `bundle.json`: `{found.sha256}`."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
