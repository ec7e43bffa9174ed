"""Labelled pictures in the formats that are read, written for tests."""

import gzip
import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(seed: int, width: int = 12, height: int = 10) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(values: np.ndarray, form: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.fromarray(values).save(data, form)
    return data.getvalue()


def write_folders(root: Path, counts: dict[str, int], first: int = 0) -> Path:
    """`counts` pictures in each folder, all different: {"cat": 3} or {"train/cat": 3}."""
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / folder / f"{number:03}.png").write_bytes(encoded(pixels(first)))
            first += 1
    return root


def write_zip(path: Path, folder: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def write_array(path: Path, values: np.ndarray, kind: int = 8) -> Path:
    """One idx file, gzipped where its name says so."""
    head = bytes([0, 0, kind, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    data = head + values.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_idx(root: Path, prefix: str, labels: list[int], seed: int = 0, suffix: str = ".gz") -> np.ndarray:
    """Pictures and labels of one split; the pictures."""
    values = np.random.default_rng(seed).integers(0, 256, (len(labels), 6, 5), np.uint8)
    write_array(root / f"{prefix}-images-idx3-ubyte{suffix}", values)
    write_array(root / f"{prefix}-labels-idx1-ubyte{suffix}", np.array(labels))
    return values


def cifar_records(labels: list[list[int]], seed: int = 0) -> tuple[bytes, np.ndarray]:
    """A binary batch, and its pictures height by width by channels."""
    values = np.random.default_rng(seed).integers(0, 256, (len(labels), 32, 32, 3), np.uint8)
    rows = [
        np.concatenate([np.array(label, np.uint8), value.transpose(2, 0, 1).ravel()])
        for label, value in zip(labels, values, strict=True)
    ]
    return b"".join(row.tobytes() for row in rows), values


def write_parquet(
    path: Path, labels: list, names: list[str] | None = None, seed: int = 0
) -> list[np.ndarray]:
    """A file as `datasets` writes it; its pictures."""
    import pyarrow as pa
    import pyarrow.parquet

    values = [pixels(seed + number) for number in range(len(labels))]
    table = pa.table(
        {"image": [{"bytes": encoded(value), "path": None} for value in values], "label": labels}
    )
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, path)
    return values
