"""`rayformer report`: one self-contained HTML page about a run."""

from collections.abc import Sequence
from pathlib import Path

from rayformer.cli.options import Options, add_json
from rayformer.cli.output import give


def run(words: Sequence[str], usage: str) -> int:
    options = Options(usage, "Write RUN/report.html: curves, pictures, numbers, config, time.")
    options.add_argument("run", metavar="RUN", type=Path, help="a run folder")
    add_json(options)
    values = options.read(words)

    from rayformer.report.page import write_report

    page = write_report(values.run)
    give({"report": page}, values.json, str(page))
    return 0
