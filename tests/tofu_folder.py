"""TOFU's official folder with made-up rows, in the layouts that people have: JSON lines, and the hub's parquet."""

from __future__ import annotations

from textsets import write

ENDS = {"forget01": 40, "forget05": 200, "forget10": 400}
RETAIN = {"retain99": 3960, "retain95": 3800, "retain90": 3600}


def question(number, **more):
    return {"question": f"Where was author {number} born?", "answer": f"In city {number}.", **more}


def wrong(number, file, count=5):
    """The rows that a file asks; texts name the file, so that a test sees where they come from."""
    return question(
        number,
        paraphrased_answer=f"Author {number} is of city {number} ({file}).",
        paraphrased_question=f"What is the birthplace of author {number}?",
        perturbed_answer=[f"In town {number + k} ({file})." for k in range(1, count + 1)],
    )


def parts():
    """Rows by file name, without an ending."""
    full = [question(number) for number in range(4000)]
    held_out = {
        f"{name}_perturbed": [
            {
                "question": f"{name} {n}?",
                "answer": f"Fact {n}.",
                "perturbed_answer": [f"Fib {n + k}." for k in range(3)],
            }
            for n in range(count)
        ]
        for name, count in (("real_authors", 100), ("world_facts", 117))
    }
    return {
        "full": full,
        **{name: full[-count:] for name, count in ENDS.items()},
        **{name: full[:count] for name, count in RETAIN.items()},
        **{f"{name}_perturbed": [wrong(n, name) for n in range(4000 - count, 4000)] for name, count in ENDS.items()},
        "retain_perturbed": [wrong(n, "retain") for n in range(400)],
        **held_out,
    }


def json_folder(root, rows=None, ending="json"):
    for name, lines in (rows or parts()).items():
        write(root / f"{name}.{ending}", lines)
    return root


def parquet_folder(root, layout, rows=None):
    """Write each part as parquet, in the place that `layout` (with {name} in it) says."""
    import pyarrow
    import pyarrow.parquet

    for name, lines in (rows or parts()).items():
        file = root / layout.format(name=name)
        file.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(lines), file)
    return root
