"""Transformer (Vaswani et al. 2017, arXiv:1706.03762): one text into another by attention alone.

rayformer train transformer
rayformer train transformer --data sentences.tsv --data.pieces 8000 --size base
rayformer train transformer --smoke
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rayformer.core.errors import ConfigError, DataError, did_you_mean
from rayformer.data.text.lines import read_lines
from rayformer.data.text.pairs import PairsConfig
from rayformer.data.text.sequences import Packed
from rayformer.data.text.vocabulary import UNKNOWN
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Prediction, Recipe, Setting
from rayformer.nets.transformer import SIZES, Transformer, TransformerConfig
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.translating import TranslatingTask, TranslatingTraining, translating_chain
from rayformer.recipes.parts.weights_export import WEIGHTS
from rayformer.runs.atomic import write_text


@dataclass(frozen=True, kw_only=True)
class TransformerRecipe:
    data: PairsConfig = PairsConfig()
    size: str | None = None
    """A published size, base or big, which then takes the place of all of the model's fields."""
    model: TransformerConfig = TransformerConfig(width=128, depth=3, heads=4, hidden=512)
    train: TranslatingTraining = TranslatingTraining()
    plan: Plan = Plan(
        steps=6000,
        optim=Optim(name="adam", rate=1e-3, betas=(0.9, 0.98), eps=1e-9),
        schedule=Schedule(kind="inverse-root", warmup_steps=1000),
        evaluate_every=1000,
        save_every=1000,
    )


DEFAULT = TransformerRecipe()

SMOKE = TransformerRecipe(
    data=PairsConfig(source="sorting-5000"),
    model=TransformerConfig(width=64, depth=2, heads=4, hidden=128, dropout=0.0),
    train=TranslatingTraining(tokens=2048, measured=200, shown=2),
    plan=replace(
        DEFAULT.plan,
        steps=600,
        optim=replace(DEFAULT.plan.optim, rate=3e-3),
        schedule=replace(DEFAULT.plan.schedule, warmup_steps=100),
        evaluate_every=0,
        save_every=300,
    ),
)


def build(config: TransformerRecipe, setting: Setting) -> Chain:
    if config.size is not None and config.size not in SIZES:
        raise ConfigError(
            f"size must be one of {', '.join(SIZES)}, but is {config.size!r}."
            f"{did_you_mean(config.size, SIZES)}"
        )
    model = config.model if config.size is None else SIZES[config.size]
    return translating_chain(config, setting, lambda words: Transformer(model, words))


def predict(loaded: Loaded, inputs: Sequence[str], out: Path | None) -> Prediction:
    """Of every text, and of every line of every file, what it becomes: the best answer and, of several beams,
    the others. Into `out` goes answers.txt, one answer a line. Raises DataError for an empty text or file."""
    task: TranslatingTask = loaded.task
    texts = [text for given in inputs for text in _texts(given)]
    sources = Packed.of(task.vocabulary.encode(texts))
    with loaded.precision.autocast():
        said = task.answers(sources, task.options.beams)
    values, rows, best = {}, [], []
    for row, (text, answers) in enumerate(zip(texts, said, strict=True)):
        found = [
            {
                "answer": task.vocabulary.decode(one.words),
                "log_probability": one.logarithm,
                "ended": one.ended,
            }
            for one in answers
        ]
        remarks = _remarks(sources[row], task.data.longest)
        values[text] = {**found[0], "others": found[1:], **({"remarks": remarks} if remarks else {})}
        best.append(str(found[0]["answer"]))
        rows.append([text, best[-1], "; ".join(remarks)])
    if out is not None:
        write_text(out / "answers.txt", "\n".join(best) + "\n")
    return Prediction(values=values, rows=rows)


def _texts(given: str) -> list[str]:
    """A text itself; of a file its lines, empty ones passed over, and of lines with tabs the first half."""
    if Path(given).is_file():
        lines = [line.split("\t")[0].strip() for line in read_lines(Path(given))]
        found = [line for line in lines if line]
        if not found:
            raise DataError(f"{given}: the file is empty.")
        return found
    if not given.strip():
        raise DataError("an empty text has no answer.\nGive a text, or a file with one on each line.")
    return [given.strip()]


def _remarks(numbers: Sequence[int], longest: int) -> list[str]:
    said = []
    if len(numbers) >= longest:
        said.append(f"{len(numbers) + 1} pieces, longer than anything learned from ({longest})")
    if unknown := numbers.count(UNKNOWN):
        said.append(f"{unknown} unknown character{'s' if unknown > 1 else ''}")
    return said


RECIPE = Recipe(default=DEFAULT, smoke=SMOKE, build=build, predict=predict, exports={"safetensors": WEIGHTS})
