"""A stream of requests: forget one set, then the next, each from the last result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from unlearnbench.contracts import Data, DataInfo, Index
from unlearnbench.errors import UserError
from unlearnbench.forget.splits import Splits


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Several forget sets, one after the other. Rows that an earlier request forgot are not forgotten again.

    Each of `requests` is a ForgetSet. `already` lists what was forgotten before the first of them.
    """

    requests: tuple[Any, ...]
    already: tuple[Path, ...] = ()

    @property
    def whole_class(self) -> bool:
        """Return whether every request forgets whole classes."""
        return all(bool(one.whole_class) for one in self.requests)

    def label(self, info: DataInfo) -> str:
        """Return stream: and the labels of the requests; raise UserError where one of them is wrong."""
        if len(self.requests) < 2:
            raise UserError(
                f"forget=stream has {len(self.requests)} requests, expected two or more.\n"
                "Try: 'forget.requests=[{forget: class, classes: [0]}, {forget: class, classes: [1]}]'"
            )
        for number, one in enumerate(self.requests):
            if getattr(one, "already", ()):
                raise UserError(
                    f"forget.requests[{number}] has already, but what was forgotten before concerns the whole stream.\n"
                    "Try: 'forget.already=[FILE]', outside forget.requests"
                )
            if hasattr(one, "manipulated"):
                raise UserError(
                    f"forget.requests[{number}] manipulates data that all requests share; a stream cannot do that.\n"
                    "Try: forget=poisoned or forget=confused, outside a stream"
                )
        labels = [one.label(info) for one in self.requests]
        for number, label in enumerate(labels):
            if label in labels[:number]:
                raise UserError(
                    f"forget.requests[{number}]: {label} is already taken by forget.requests[{labels.index(label)}]; "
                    "nothing of it would be left to forget.\nTry: another forget set in its place"
                )
        return "stream:" + ",".join(labels)

    def split(self, data: Data) -> Splits:
        """Return the splits of the first request."""
        return self.requests_of(data)[0]

    def requests_of(self, data: Data) -> tuple[Splits, ...]:
        """Return the splits of each request; raise UserError where nothing is left to forget or to retain."""
        found: list[Splits] = []
        for number, one in enumerate(self.requests, 1):
            found.append(_after(found, one.split(data), number))
        return tuple(found)


def _after(earlier: list[Splits], mine: Splits, number: int) -> Splits:
    """Take what earlier requests forgot out of a request's splits."""
    gone = reduce(np.union1d, (one.forget for one in earlier), np.empty(0, dtype=np.int64))
    forget, retain = np.setdiff1d(mine.forget, gone), np.setdiff1d(mine.retain, gone)
    if not len(forget) or len(retain) < 2:
        what = f"{len(forget)} rows to forget and {len(retain)} to retain"
        took = [f"forget.requests[{k}]" for k, one in enumerate(earlier) if np.isin(mine.forget, one.forget).any()]
        taken = f" ({', '.join(took)} took {len(mine.forget) - len(forget)} of its {len(mine.forget)})" if took else ""
        raise UserError(
            f"forget.requests[{number - 1}] has {what} once earlier requests are done{taken}, expected one or more to "
            "forget and two or more to retain.\n"
            "Try: forget sets that do not overlap"
        )
    both = [mine, *earlier]
    return replace(
        mine,
        forget=forget,
        retain=retain,
        retain_asked=None if mine.retain_asked is None else np.setdiff1d(mine.retain_asked, gone),
        test_retain=_in_all([one.test_retain for one in both]),
        validation_retain=_in_all([one.validation_retain for one in both]),
    )


def _in_all(parts: list[Index | None]) -> Index | None:
    """Return what is in all parts; None means everything, and is returned if nothing is left."""
    known = [part for part in parts if part is not None]
    left = reduce(np.intersect1d, known) if known else None
    return left if left is not None and len(left) else None
