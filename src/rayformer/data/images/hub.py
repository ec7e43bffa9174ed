"""Data sets of the Hugging Face Hub by name: hf:cifar10, hf:OWNER/NAME, hf:OWNER/NAME@REVISION.

    is_on_hub   whether a source names one
    fetched     the folder of its parquet files, fetched now unless they were before

Only parquet files are fetched, never a script: those of the repository itself, else those that the hub makes
of every public data set (its branch refs/convert/parquet). They are kept in the hub's own cache, HF_HOME.
Needs the extra `hub`.
"""

import fnmatch
from pathlib import Path
from typing import Any

from rayformer.core.errors import DataError, MissingExtra

PREFIX = "hf:"
CONVERTED = "refs/convert/parquet"


def is_on_hub(source: str) -> bool:
    return source.startswith(PREFIX)


def fetched(source: str) -> Path:
    """The folder with the parquet files of `source`.

    Raises MissingExtra without the hub's client; DataError for a name that the hub does not know or does not
    show, a data set that has no parquet files, and where the hub cannot be reached.
    """
    hub = _client()
    name, _, revision = source.removeprefix(PREFIX).partition("@")
    if not name or name.count("/") > 1:
        raise DataError(
            f"data.source: {source!r} names no data set; hf:NAME or hf:OWNER/NAME is wanted, "
            "with @REVISION behind it if need be."
        )
    for branch in [revision] if revision else [None, CONVERTED]:
        try:
            folder = Path(
                hub.snapshot_download(
                    name, repo_type="dataset", revision=branch, allow_patterns=["*.parquet"]
                )
            )
        except Exception as error:  # the client raises its own kinds, requests' and plain OSError
            raise DataError(
                f"{source}: the Hugging Face Hub does not give it ({_said(error)}).\n"
                "Is the name right, is it public (else set HF_TOKEN), and can this machine reach the hub?"
            ) from error
        files = [path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")]
        if files:
            return _one_config(folder, files)
    raise DataError(
        f"{source}: the data set has no parquet files.\n"
        "Fetch it yourself, and give its pictures in class folders."
    )


def _one_config(folder: Path, files: list[str]) -> Path:
    """The converted branch has a folder for every configuration: the default one, else the only or the first
    by name."""
    configs = sorted({file.split("/")[0] for file in files if file.count("/") > 1})
    if not configs or fnmatch.filter(files, "*.parquet") == fnmatch.filter(files, "data/*"):
        return folder
    return folder / ("default" if "default" in configs else configs[0])


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _client() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtra("hub", "Fetching data sets by hf:NAME") from error
    return huggingface_hub
