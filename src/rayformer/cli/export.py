"""`rayformer export`: the model of a run in a format that other programs read."""

from collections.abc import Sequence
from pathlib import Path

from rayformer.cli.abilities import open_able
from rayformer.cli.options import Options, add_device, add_json
from rayformer.cli.output import give
from rayformer.core.errors import ConfigError, did_you_mean


def run(words: Sequence[str], usage: str) -> int:
    options = Options(usage, "The model of a run in a format that other programs read.")
    options.add_argument("run", metavar="RUN", type=Path, help="a run folder")
    options.add_argument(
        "--to", metavar="FORMAT", required=True, help="safetensors, or another that the recipe offers"
    )
    options.add_argument("--out", metavar="PATH", type=Path, help="where to (default: inside the run folder)")
    add_device(options)
    add_json(options)
    values = options.read(words)

    loaded = open_able(values.run, "export", values.device)
    formats = loaded.recipe.exports
    if values.to not in formats:
        raise ConfigError(
            f"--to {values.to}: a {loaded.name} run is not exported to that."
            f"{did_you_mean(values.to, formats)}\nIts formats are {', '.join(formats)}."
        )
    path = formats[values.to](loaded, values.out)
    give({"path": path}, values.json, str(path))
    return 0
