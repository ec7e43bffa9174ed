"""`rayformer reproduce`: a claim of a paper run anew; without a name, the claims there are."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rayformer.claims.index import ENTRIES
from rayformer.claims.index import run as reproduce
from rayformer.cli.options import Options, add_json, whole_number
from rayformer.cli.output import give, table


def run(words: Sequence[str], usage: str) -> int:
    options = Options(
        usage, "Run a claim of a paper anew: a table, a picture, a verdict. Without CLAIM, list them."
    )
    options.add_argument("claim", metavar="CLAIM", nargs="?", help="which; none lists them all")
    options.add_argument(
        "--smoke", action="store_true", help="as small as it gets: shows that it runs, proves nothing"
    )
    options.add_argument(
        "--seeds",
        metavar="N",
        nargs="+",
        type=whole_number,
        help="repeat with these seeds (default: the claim's own)",
    )
    options.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="where runs, table and picture go (default: runs/DATE-TIME-CLAIM)",
    )
    options.add_argument(
        "--data",
        metavar="DATA",
        help="other data, for claims about labelled pictures (default: drawn ones)",
    )
    add_json(options)
    values = options.read(words)

    if values.claim is None:
        claims = [
            {name: value for name, value in asdict(entry).items() if name != "module"} for entry in ENTRIES
        ]
        rows = [[entry.name, entry.paper, f"{entry.minutes} min", entry.statement] for entry in ENTRIES]
        give(claims, values.json, table(["claim", "paper", "takes about", "statement"], rows))
        return 0
    outcome = reproduce(values.claim, values.smoke, values.out, values.seeds, values.data)
    give(outcome.to_plain(), values.json, outcome.text())
    return 0
