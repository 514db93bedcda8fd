"""The one exception for what a user can mend, the exit codes, and "did you mean"."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class UserError(Exception):
    """A mistake the user can mend: says what was wrong, what was expected, what to type next."""


class WrongKind(UserError):
    """A method or model for another kind of data: an error in a single run, a skipped row in a sweep."""


class Stopped(Exception):
    """What ends a command though nobody made a mistake, such as a full disk: said in one line; exit code 1."""


class Diverged(Exception):
    """A loss or output that is no longer finite: at an optimiser step (from 1; 0: afterwards), of a role's model."""

    def __init__(self, step: int, role: str = "") -> None:
        where = f"the loss or weights stopped being finite at step {step}" if step else "the outputs are not finite"
        super().__init__(f"{role.replace('_', ' ')}: {where}. Try: a lower learning rate" if role else where)
        self.step, self.role = step, role

    def __reduce__(self) -> tuple[type[Diverged], tuple[int, str]]:
        """Let a launcher's worker processes hand it over."""
        return Diverged, (self.step, self.role)


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun, "1 file" or "2 files"; `many` is the plural where `one` with an s is not."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known name closest to `word`, whatever their case, or an empty string."""
    names = list(known)
    lower = {name.lower(): name for name in reversed(names)}
    close = get_close_matches(word, names, n=1, cutoff=0.5)
    close = [lower[word.lower()]] if word.lower() in lower else close or get_close_matches(word.lower(), lower, 1, 0.5)
    return f" Did you mean '{lower.get(close[0], close[0])}'?" if close else ""
