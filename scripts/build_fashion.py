#!/usr/bin/env python3
"""Choose the embedded part of Fashion-MNIST: 400 training and 100 test images of each class, by a fixed seed.

    apt-get install dataset-fashion-mnist
    python scripts/build_fashion.py [--check] [FOLDER]

FOLDER holds the four IDX files (default: where Debian's package puts them). Writes unlearnbench/data/fashion.npz.xz
and prints its SHA-256, which is in unlearnbench/data/fashion.py; --check only compares.
"""

import gzip
import hashlib
import io
import lzma
import sys
import zipfile
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parents[1] / "unlearnbench" / "data" / "fashion.npz.xz"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
SEED = 2017


def idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes: its header names the dimensions, big-endian."""
    raw = gzip.decompress(path.read_bytes())
    dimensions = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(dimensions)


def chosen(folder: Path, name: str, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw `each` images of every class, in the order of the original file."""
    images, labels = idx(folder / f"{name}-images-idx3-ubyte.gz"), idx(folder / f"{name}-labels-idx1-ubyte.gz")
    generator = np.random.default_rng(SEED)
    rows = [generator.permutation(np.flatnonzero(labels == label))[:each] for label in range(10)]
    index = np.sort(np.concatenate(rows))
    return images[index], labels[index]


def packed(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Return an .npz of the arrays, xz-compressed as a whole, the same bytes at every run."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as npz:
        for name, array in {"images": images, "labels": labels}.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            npz.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), content.getvalue())
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0}]
    return lzma.compress(archive.getvalue(), lzma.FORMAT_XZ, filters=filters)


def main() -> None:
    """Build the file, or compare it with what would be built."""
    words = [word for word in sys.argv[1:] if word != "--check"]
    folder = Path(words[0]) if words else DEBIAN
    if not folder.exists():
        sys.exit(f"{folder} is not there. Try: apt-get install dataset-fashion-mnist")
    train, test = chosen(folder, "train", 400), chosen(folder, "t10k", 100)
    content = packed(np.concatenate([train[0], test[0]]), np.concatenate([train[1], test[1]]))
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.exists() and TARGET.read_bytes() == content else f"{TARGET} differs")
    TARGET.write_bytes(content)
    print(f"{TARGET.name}: {len(content) / 2**20:.2f} MiB, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
