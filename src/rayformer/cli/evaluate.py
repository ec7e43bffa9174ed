"""`rayformer eval`: the numbers of a run, measured anew."""

from collections.abc import Sequence
from pathlib import Path

from rayformer.cli.abilities import begun_run
from rayformer.cli.options import Options, add_device, add_json
from rayformer.cli.output import give, number_lines


def run(words: Sequence[str], usage: str) -> int:
    options = Options(usage, "Measure a run on its held-out data, or on other data.")
    options.add_argument("run", metavar="RUN", type=Path, help="a run folder")
    options.add_argument("--data", metavar="SOURCE", help="other data than the run was trained on")
    add_device(options)
    add_json(options)
    values = options.read(words)
    begun_run(values.run)

    from rayformer.recipes.open_run import evaluate

    numbers = evaluate(values.run, values.data, values.device)
    give(numbers, values.json, number_lines(numbers))
    return 0
