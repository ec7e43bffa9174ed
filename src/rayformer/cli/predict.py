"""`rayformer predict`: what the model of a run says of new input."""

from collections.abc import Sequence
from pathlib import Path

from rayformer.cli.abilities import open_able
from rayformer.cli.options import Options, add_device, add_json
from rayformer.cli.output import columns, give


def run(words: Sequence[str], usage: str) -> int:
    options = Options(usage, "What the model of a run says of new input.")
    options.add_argument("run", metavar="RUN", type=Path, help="a run folder")
    options.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="files, folders or texts, as the recipe takes them"
    )
    options.add_argument(
        "--out", metavar="DIR", type=Path, help="write what does not fit on a line (pictures, sounds) here"
    )
    add_device(options)
    add_json(options)
    values = options.read(words)

    loaded = open_able(values.run, "predict", values.device)
    assert loaded.recipe.predict, f"the index promises that {loaded.name} can predict"
    answers = loaded.recipe.predict(loaded, values.inputs, values.out)
    give(answers.values, values.json, columns(answers.rows))
    return 0
