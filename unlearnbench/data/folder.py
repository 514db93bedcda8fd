"""Photos of your own: a folder for each class, or a metadata table (docs/own-photos.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from unlearnbench.data.decoded import DecodedSettings
from unlearnbench.data.files import check_there
from unlearnbench.data.listing import LAYOUTS, Listing, in_folders
from unlearnbench.data.manifest import from_manifest, manifest_in
from unlearnbench.data.photos import Photos
from unlearnbench.data.pixels import Pixels, pixels_of
from unlearnbench.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Images(DecodedSettings):
    """Your own photos in a folder, by class or by a metadata table; decoded once into a cache.

    `root` holds CLASS/..., or train/CLASS/... with val and test beside train, or the files that `metadata` names in
    its columns path and label. `metadata` null means metadata.csv, .jsonl or .parquet in `root`, if there is one.
    """

    root: Path | None = field(metadata={"key": False})
    metadata: Path | None

    def folder(self) -> Path:
        """Return the folder that all paths start from."""
        if self.root is None and self.metadata is None:
            raise UserError(f"dataset=images needs the folder of your photos.\n{LAYOUTS}\nTry: dataset.root=FOLDER")
        root = self.root if self.root is not None or self.metadata is None else self.metadata.parent
        assert root is not None
        check_there(root, "dataset.root=FOLDER, the one that holds your photos")
        if not root.is_dir():
            raise UserError(
                f"dataset.root={root} is a file; expected the folder of your photos.\n"
                f"Try: dataset.root={root.parent} dataset.metadata={root}"
            )
        return root

    def tree(self) -> Path:
        """Return the folder that the data come from: any change in it may change them."""
        return self.folder()

    def _list(self) -> Listing:
        root = self.folder()
        table = self.metadata or manifest_in(root)
        return in_folders(root) if table is None else from_manifest(root, table)

    def _decode(self, listing: Listing) -> Pixels:
        place = self.place()
        photos = Photos(self.folder(), listing.entries, place / "index")
        found = pixels_of(photos, self.shape(), place / "pixels", f"decoding {len(listing.entries):,} images")
        photos.remember(found.sources)
        return found
