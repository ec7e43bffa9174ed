"""`rayformer list`: every recipe, from the static index, without torch."""

from collections.abc import Sequence
from dataclasses import asdict

from rayformer.cli.options import Options, add_json
from rayformer.cli.output import give, table
from rayformer.recipes.index import ENTRIES


def run(words: Sequence[str], usage: str) -> int:
    options = Options(usage, "Every recipe: system, paper, what it takes, what it gives.")
    add_json(options)
    values = options.read(words)

    recipes = [
        {name: value for name, value in asdict(entry).items() if name != "module"} for entry in ENTRIES
    ]
    head = ["recipe", "system", "paper", "takes", "gives"]
    rows = [[entry.name, entry.system, entry.paper, entry.takes, entry.gives] for entry in ENTRIES]
    give(recipes, values.json, table(head, rows))
    return 0
