"""Which options of sbatch a configuration may set, and what their values may look like.

A configuration file is data that anybody may have written, so it may ask for resources but must not run code or write
files: options such as --wrap, --output or --export are not in the list. Who needs them sets SLURM's own environment
variables, such as SBATCH_EXPORT.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_WORD = re.compile(r"[A-Za-z0-9_(\[][A-Za-z0-9_.,:/@+=%&|*()\[\] -]{0,199}", re.ASCII)


def _word(value: Any) -> Any:
    """Return a value of an option as text; raise ValueError where it is not a plain one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and not _WORD.fullmatch(value):
        raise ValueError(
            f"{value!a} is not a plain value.\nIt may have up to 200 letters, digits, spaces and any of "
            f"_ . , : / @ + = % & | * ( ) [ ] -\nTry: a value as in sbatch --help"
        )
    return value


Word = Annotated[str, BeforeValidator(_word)]
"""The value of an option: it cannot end its line of a script, nor a quoted text in it."""


@dataclass(frozen=True, kw_only=True)
class Sbatch:
    """Options of sbatch by their names, with _ for -; what is null is not given. See `man sbatch`."""

    account: Word | None = None
    begin: Word | None = None
    comment: Word | None = None
    constraint: Word | None = None
    contiguous: bool = False
    core_spec: Word | None = None
    cpus_per_gpu: Word | None = None
    deadline: Word | None = None
    exclude: Word | None = None
    exclusive: bool | Word = False
    gres: Word | None = None
    hint: Word | None = None
    licenses: Word | None = None
    mail_type: Word | None = None
    mail_user: Word | None = None
    mem_per_cpu: Word | None = None
    mem_per_gpu: Word | None = None
    nice: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    nodelist: Word | None = None
    oversubscribe: bool = False
    prefer: Word | None = None
    priority: Word | None = None
    qos: Word | None = None
    reservation: Word | None = None
    switches: Word | None = None
    threads_per_core: Word | None = None
    time_min: Word | None = None
    tmp: Word | None = None
    wckey: Word | None = None

    def words(self) -> dict[str, Any]:
        """Return the options that are given."""
        return {name: value for name, value in asdict(self).items() if value is not None and value is not False}
