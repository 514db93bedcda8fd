"""A data set of the Hugging Face hub, or a folder in its format: images inside Parquet or Arrow files.

Only tables are read: a loading script is never run, and nothing but tables is fetched from the hub.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from unlearnbench.data.decoded import DecodedSettings
from unlearnbench.data.listing import Listing
from unlearnbench.data.pixels import Pixels, pixels_of
from unlearnbench.data.tables import SUFFIXES, Tables
from unlearnbench.errors import UserError
from unlearnbench.files.hub import Absent, fetched


@dataclass(frozen=True, kw_only=True)
class Hub(DecodedSettings):
    """Images of a data set on the Hugging Face hub, or of its Parquet or Arrow files in a folder; decoded once.

    `path` is OWNER/NAME on the hub, or a folder. `subset` is the folder of one of several configurations in it.
    `image` and `label` name the columns; null: the ones of that type, or with a usual name.
    """

    path: str | None = field(metadata={"key": False})
    subset: str | None
    revision: str | None
    image: str | None
    label: str | None

    def tree(self) -> Path:
        """Return the folder that the data come from: any change in it may change them."""
        return self.folder()

    def folder(self) -> Path:
        """Return the folder with the tables; raise UserError if there is none."""
        if not self.path:
            raise UserError("dataset=hf needs a data set.\nTry: dataset.path=OWNER/NAME of the hub, or a folder")
        if importlib.util.find_spec("pyarrow") is None:
            raise UserError("dataset=hf needs the extra `hub`.\nTry: pip install 'unlearnbench[hub]'")
        local = Path(self.path)
        found = local if local.is_dir() else _fetched(self.path, self.revision)
        return found / self.subset if self.subset else found

    def _list(self) -> Listing:
        return Tables(self).listing()

    def _decode(self, listing: Listing) -> Pixels:
        source = Tables(self)
        return pixels_of(
            source, self.shape(), self.place() / "pixels", f"decoding {len(listing.entries):,} images"
        )  # fmt: skip


@cache
def _fetched(name: str, revision: str | None) -> Path:
    """Return the folder of a data set's tables in the hub client's cache; raise UserError if it cannot be fetched."""
    from huggingface_hub import snapshot_download

    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise UserError(f"dataset.path={name}: no such folder.\nTry: a folder, or OWNER/NAME of the hub")
    patterns = [f"*{suffix}" for suffix in SUFFIXES]

    def fetch(local: bool) -> str:
        return snapshot_download(
            name, repo_type="dataset", revision=revision, allow_patterns=patterns, local_files_only=local
        )

    try:
        return fetched(fetch)
    except Absent as error:
        raise UserError(
            f"dataset.path={name} is not a folder here and cannot be loaded from the hub: {error}\n"
            "Try: the path of a folder, or log in if its terms ask for it"
        ) from error
