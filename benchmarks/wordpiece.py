"""WordPiece over a corpus: ours beside the `tokenizers` library alone.

    python benchmarks/wordpiece.py --text my_text.txt --vocabulary vocab.txt [--turns 7]
    python benchmarks/wordpiece.py [--megabytes 3]

alone       `Tokenizer.encode_batch_fast` of the same tokenizer over the lines, and nothing more
ours        `WordPiece.pieces`: the numbers of every line as a list
corpus      `Pieces.of`: the same as one array with the borders of sentences and documents
training    a vocabulary of 8,192 entries learned from it: the library's trainer alone, and `WordPiece.train`

They take turns; times are medians. Without --text simple English is drawn, whose words are few: the library
remembers what it has seen, so that real text is the harder test.
"""

import argparse
import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import tokenizers
from tokenizers import trainers

from rayformer.data.text.corpus import Pieces
from rayformer.data.text.grammar import draw_documents
from rayformer.data.text.lines import read_lines
from rayformer.data.text.wordpiece import SPECIAL, UNKNOWN, WordPiece, _built


def medians(turns: int, runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(1 + turns):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(some) for name, some in times.items()}


def trained_alone(lines: list[str], size: int) -> None:
    learner = _built({}, lower=True)
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=2, special_tokens=list(SPECIAL), show_progress=False
    )
    learner.train_from_iterator(lines, trainer, length=len(lines))
    assert learner.token_to_id(UNKNOWN) is not None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--text", type=Path)
    options.add_argument("--vocabulary", type=Path)
    options.add_argument("--megabytes", type=float, default=3.0)
    options.add_argument("--turns", type=int, default=7)
    values = options.parse_args()
    if values.text:
        lines = [line for line in read_lines(values.text) if line.strip()]
    else:
        lines = [line for document in draw_documents(12_000) for line in document]
    count, size = 0, 0
    while count < len(lines) and size < values.megabytes * 1e6:
        size += len(lines[count].encode()) + 1
        count += 1
    lines = lines[:count]
    wordpiece = WordPiece.load(values.vocabulary) if values.vocabulary else WordPiece.train(lines, 8192)
    runs = {
        "alone": lambda: wordpiece.tokenizer.encode_batch_fast(lines, add_special_tokens=False),
        "ours": lambda: wordpiece.pieces(lines),
        "corpus": lambda: Pieces.of([lines], wordpiece.pieces),
    }
    found = medians(values.turns, runs)
    trained = medians(max(1, values.turns // 3), {
        "training alone": lambda: trained_alone(lines, 8192),
        "training ours": lambda: WordPiece.train(lines, 8192),
    })  # fmt: skip
    print(
        f"{datetime.date.today()}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores, ",
        end="",
    )
    print(f"tokenizers {tokenizers.__version__}; {size / 1e6:.2f} MB in {len(lines):,} lines\n")
    print("| | s | MB/s | over the library alone |\n|---|---|---|---|")
    for name, seconds in {**found, **trained}.items():
        base = trained["training alone"] if name.startswith("training") else found["alone"]
        print(f"| {name} | {seconds:.3f} | {size / 1e6 / seconds:.1f} | {seconds / base:.2f} |")


if __name__ == "__main__":
    main()
