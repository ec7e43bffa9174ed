"""How well sequences are answered.

    exact   the share of answers that are right to the last letter
    bleu    runs of words that the answers share with the truth                Papineni et al. 2002

BLEU (https://aclanthology.org/P02-1040) here: one reference for each answer, runs of one to four words
counted over all answers together, no smoothing; words are runs of letters and digits, marks stand alone,
and capitals count.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

LONGEST = 4
"""Words of a run."""
WORD = re.compile(r"\w+|[^\w\s]")


def exact(answers: Sequence[str], truths: Sequence[str]) -> float:
    """NaN of none."""
    pairs = list(zip(answers, truths, strict=True))
    return sum(answer == truth for answer, truth in pairs) / len(pairs) if pairs else math.nan


def bleu(answers: Sequence[str], truths: Sequence[str]) -> float:
    """In percent. The geometric mean, over the lengths of runs, of the share of the answers' runs that the
    truth has, too (eq. of sec. 2.3), less where the answers are shorter than the truth. 0 where some length
    of run is never right."""
    right, said = [0] * LONGEST, [0] * LONGEST
    spoken = wanted = 0
    for answer, truth in zip(answers, truths, strict=True):
        mine, own = WORD.findall(answer), WORD.findall(truth)
        spoken, wanted = spoken + len(mine), wanted + len(own)
        for length in range(1, LONGEST + 1):
            runs = _runs(mine, length)
            right[length - 1] += (
                runs & _runs(own, length)
            ).total()  # none counts more often than it is there
            said[length - 1] += runs.total()
    if not spoken or 0 in right:
        return 0.0
    shares = sum(math.log(one / all_of) for one, all_of in zip(right, said, strict=True)) / LONGEST
    return 100 * math.exp(shares + min(0.0, 1 - wanted / spoken))


def _runs(words: Sequence[str], length: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[first : first + length]) for first in range(len(words) - length + 1))
