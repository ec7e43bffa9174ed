"""Sentences with answers, drawn by us in the form of GLUE's tasks: what some animals did to each other, and
what people thought of it.

    Deed          who did what to whom, where
    drawn_rows    sentences and answers of one task and split

The world is small enough for a small network to learn in a minute, and what is asked is what the tasks of
GLUE ask: whether a sentence is well formed, what is felt, whether two sentences say the same, whether one
follows from the other. The words of the training and dev splits are the same, the sentences are not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random

ROWS = {"train": 4000, "dev": 500}

COATS = ("red", "old", "small", "brave", "hungry", "sleepy")
ANIMALS = ("fox", "bear", "wolf", "cat", "goose", "horse", "owl", "mouse")
VERBS = {"chased": "fled from", "found": "lost", "praised": "mocked", "fed": "robbed"}
"""Each with one that nobody does at the same time."""
OTHER_WORDS = {"chased": "ran after", "found": "came upon", "praised": "spoke well of", "fed": "gave food to"}
PLACES = ("in the wood", "by the lake", "on the hill", "near the barn")
SHOWS = ("film", "play", "song", "story", "picture", "ending")
GOOD, BAD = ("wonderful", "charming", "clever", "moving"), ("dull", "awful", "silly", "lifeless")

Row = tuple[str, str | None, float]


@dataclass(frozen=True)
class Deed:
    coat: str
    actor: str
    verb: str
    sufferer: str
    place: str

    def told(self) -> str:
        return f"the {self.coat} {self.actor} {self.verb} the {self.sufferer} {self.place} ."

    def in_other_words(self) -> str:
        return (
            f"{self.place} the {self.actor} , who is {self.coat} , {OTHER_WORDS[self.verb]} "
            f"the {self.sufferer} ."
        )

    def turned_round(self) -> "Deed":
        return replace(self, actor=self.sufferer, sufferer=self.actor)


def _deed(draw: Random) -> Deed:
    actor, sufferer = draw.sample(ANIMALS, 2)
    return Deed(draw.choice(COATS), actor, draw.choice(tuple(VERBS)), sufferer, draw.choice(PLACES))


def drawn_rows(task: str, split: str) -> list[Row]:
    """First sentence, second or None, and the answer's number or score; always the same ones, no row of one
    split in the other."""
    rows: dict[tuple[str, str | None], float] = {}
    draw = Random(f"{task} dev")
    wanted = ROWS["dev"]
    while len(rows) < wanted:
        first, second, answer = _TASKS[task](draw)
        rows[first, second] = answer
    if split == "train":
        held, rows, draw = rows, {}, Random(f"{task} train")
        while len(rows) < ROWS["train"]:
            first, second, answer = _TASKS[task](draw)
            if (first, second) not in held:
                rows[first, second] = answer
    return [(first, second, answer) for (first, second), answer in rows.items()]


# ---------------------------------------------------------------------- one function for each task


def _acceptable(draw: Random) -> Row:
    """CoLA: one or many animals; a verb that does not agree with them, or words out of order, is no
    English."""
    many, animal, other = draw.random() < 0.5, *draw.sample(("bear", "cat", "horse", "owl"), 2)
    adverb, place = draw.choice(("often", "never", "always")), draw.choice(PLACES)
    right = draw.random() < 0.5
    one, several = draw.choice((("sees", "see"), ("feeds", "feed"), ("meets", "meet")))
    verb = several if many == right else one
    actor = f"the {draw.choice(COATS)} {animal}" + ("s" if many else "")
    return f"{actor} {adverb} {verb} the {other} {place} .", None, float(right)


def _felt(draw: Random) -> Row:
    """SST-2: the last clause counts, and `not` turns it round."""

    def clause() -> tuple[str, bool]:
        good, turned = draw.random() < 0.5, draw.random() < 0.4
        word = draw.choice(GOOD if good else BAD)
        how = draw.choice(("not ", "hardly ")) if turned else draw.choice(("", "rather ", "very "))
        return f"the {draw.choice(SHOWS)} is {how}{word}", good != turned

    text, felt = clause()
    if draw.random() < 0.5:
        last, felt = clause()
        text = f"{text} , but {last}"
    return f"{text} .", None, float(felt)


def _paraphrase(draw: Random) -> Row:
    """MRPC: the same in other words, or with something else in it."""
    deed = _deed(draw)
    same = draw.random() < 0.5
    other = deed if same else _changed(draw, deed)
    return deed.told(), other.in_other_words(), float(same)


def _changed(draw: Random, deed: Deed) -> Deed:
    """One of its words replaced by another."""
    name, words = draw.choice(
        (("coat", COATS), ("actor", ANIMALS), ("verb", tuple(VERBS)), ("place", PLACES))
    )
    taken = {getattr(deed, name), deed.sufferer}
    return replace(deed, **{name: draw.choice([word for word in words if word not in taken])})


def _alike(draw: Random) -> Row:
    """STS-B: a point for every part of five that two deeds share."""
    deed, shared = _deed(draw), draw.randint(0, 5)
    changed = draw.sample(("coat", "actor", "verb", "sufferer", "place"), 5 - shared)
    other = deed
    for name in changed:
        words = {"coat": COATS, "verb": tuple(VERBS), "place": PLACES}.get(name, ANIMALS)
        taken = {getattr(deed, name), other.actor, other.sufferer, deed.actor, deed.sufferer}
        other = replace(other, **{name: draw.choice([word for word in words if word not in taken])})
    return deed.told(), other.told(), float(shared)


def _same_question(draw: Random) -> Row:
    """QQP: the same asked twice, or something else."""
    deed = _deed(draw)
    same = draw.random() < 0.5
    other = deed if same else _changed(draw, deed)
    asked = f"is it true that {deed.told().removesuffix(' .')} ?"
    again = f"was it a {other.coat} {other.actor} that {OTHER_WORDS[other.verb]} the {other.sufferer} "
    return asked, f"{again}{other.place} ?", float(same)


def _follows(draw: Random, answers: tuple[str, ...]) -> tuple[str, str, str]:
    """Two sentences, and how the second stands to the first: part of it; against it; or about something that
    the first does not say."""
    deed, answer = _deed(draw), draw.choice(answers)
    actor, verb, sufferer = f"the {deed.actor}", deed.verb, f"the {deed.sufferer}"
    stranger = draw.choice([animal for animal in ANIMALS if animal not in (deed.actor, deed.sufferer)])
    seconds = {
        "entailment": (
            f"{actor} {verb} {sufferer} .",
            f"{actor} was {deed.place} .",
            f"{actor} is {deed.coat} .",
        ),
        "contradiction": (f"{actor} {VERBS[verb]} {sufferer} .", f"nobody {verb} {sufferer} ."),
        "neutral": (
            f"{sufferer} {verb} {actor} .",
            f"{actor} {verb} the {stranger} .",
            f"{sufferer} is {draw.choice(COATS)} .",
        ),
    }
    return deed.told(), draw.choice(seconds[answer]), answer


def _inferred(draw: Random) -> Row:
    """MNLI, with its three answers."""
    names = ("entailment", "neutral", "contradiction")
    first, second, answer = _follows(draw, names)
    return first, second, float(names.index(answer))


def _entailed(draw: Random) -> Row:
    """RTE: contradiction and neutral are one answer."""
    first, second, answer = _follows(draw, ("entailment", "entailment", "neutral", "contradiction"))
    return first, second, float(answer != "entailment")


def _answered(draw: Random) -> Row:
    """QNLI: whether the sentence answers the question."""
    deed = _deed(draw)
    told = draw.random() < 0.5
    other = deed if told else draw.choice((deed.turned_round(), _changed(draw, deed)))
    if not told and (other.verb, other.sufferer) == (deed.verb, deed.sufferer):
        other = deed.turned_round()
    return f"who {deed.verb} the {deed.sufferer} ?", other.told(), float(not told)


def _meant(draw: Random) -> Row:
    """WNLI: whom `it` stands for is told by the verb."""
    deed = _deed(draw)
    strong = draw.random() < 0.5
    why = "strong" if strong else "weak"
    meant = deed.actor if strong else deed.sufferer
    named, true = (meant, True) if draw.random() < 0.5 else ((deed.sufferer if strong else deed.actor), False)
    return (
        f"{deed.told().removesuffix(' .')} because it was {why} .",
        f"the {named} was {why} .",
        float(true),
    )


_TASKS: Mapping[str, Callable[[Random], Row]] = {
    "CoLA": _acceptable, "SST-2": _felt, "MRPC": _paraphrase, "STS-B": _alike, "QQP": _same_question,
    "MNLI": _inferred, "QNLI": _answered, "RTE": _entailed, "WNLI": _meant,
}  # fmt: skip
