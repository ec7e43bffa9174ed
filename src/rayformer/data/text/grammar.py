"""Drawn text: short documents in simple English, each about one topic and one person.

    TOPICS          what is talked about: things, what they are like, what is done to them, and where
    SENSES          words that mean one thing in one topic and another in another
    draw_documents  documents of some sentences each
    sense_sentences single sentences with such a word, whose meaning is told behind it

A document keeps to its topic and its person, so that the next sentence can be told from one of elsewhere, and
a blank can be filled from either side. What an ambiguous word means is often told only after it: whoever
reads from left to right cannot know when it comes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from rayformer.core.seeds import stream

PEOPLE = (
    ("Anna", "she"), ("Ben", "he"), ("Clara", "she"), ("David", "he"), ("Emma", "she"), ("Frank", "he"),
    ("Grace", "she"), ("Henry", "he"), ("Ida", "she"), ("Jacob", "he"), ("Karin", "she"), ("Leo", "he"),
)  # fmt: skip


@dataclass(frozen=True)
class Topic:
    places: tuple[str, ...]
    worker: str
    things: tuple[str, ...]
    like: tuple[str, ...]
    """Adjectives."""
    done: tuple[str, ...]
    """Verbs in the past, of what is done to things."""


TOPICS: Mapping[str, Topic] = {
    "sea": Topic(
        ("in the harbour", "on the beach", "at the lighthouse"), "sailor",
        ("boat", "net", "anchor", "shell", "sail"), ("salty", "wet", "stormy", "blue"),
        ("hauled", "moored", "rowed", "launched"),
    ),
    "farm": Topic(
        ("in the barn", "on the meadow", "at the stable"), "farmer",
        ("cow", "plough", "fence", "tractor", "haystack"), ("muddy", "fertile", "tame", "dusty"),
        ("fed", "milked", "mended", "harvested"),
    ),
    "kitchen": Topic(
        ("at the stove", "in the pantry", "at the table"), "cook",
        ("soup", "cake", "pan", "onion", "oven"), ("sweet", "sour", "hot", "crisp"),
        ("baked", "stirred", "tasted", "chopped"),
    ),
    "music": Topic(
        ("on the stage", "in the concert hall", "at the opera"), "singer",
        ("violin", "piano", "song", "drum", "choir"), ("loud", "gentle", "solemn", "cheerful"),
        ("played", "tuned", "rehearsed", "composed"),
    ),
    "forest": Topic(
        ("under the oak", "in the clearing", "on the path"), "hunter",
        ("deer", "mushroom", "nest", "fox", "fern"), ("green", "mossy", "wild", "shady"),
        ("spotted", "followed", "tracked", "startled"),
    ),
    "city": Topic(
        ("in the office", "on the square", "at the station"), "clerk",
        ("letter", "taxi", "tower", "ticket", "newspaper"), ("busy", "noisy", "modern", "crowded"),
        ("signed", "bought", "delivered", "counted"),
    ),
    "sport": Topic(
        ("in the stadium", "on the field", "at the match"), "player",
        ("ball", "goal", "team", "race", "trophy"), ("quick", "fair", "tired", "strong"),
        ("won", "kicked", "threw", "trained"),
    ),
    "workshop": Topic(
        ("at the bench", "in the garage", "in the smithy"), "carpenter",
        ("hammer", "saw", "engine", "plank", "screw"), ("sharp", "rusty", "wooden", "oily"),
        ("sharpened", "repaired", "polished", "sawed"),
    ),
}  # fmt: skip

SENSES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "bat": {
        "forest": ("flew out of the cave", "hung upside down", "woke at dusk", "squeaked in the dark"),
        "sport": (
            "hit the ball far",
            "was swung by the player",
            "broke at the handle",
            "was made of ash wood",
        ),
    },
    "bark": {
        "forest": ("peeled off the oak", "was grey and mossy", "grew thick on the trunk", "fed the beetles"),
        "farm": (
            "frightened the sheep",
            "came from the old dog",
            "woke the whole barn",
            "rang across the meadow",
        ),
    },
    "bass": {
        "sea": ("swam into the net", "was caught with a hook", "tasted of salt", "hid below the boat"),
        "music": (
            "played the deep notes",
            "was tuned by the singer",
            "sounded below the choir",
            "followed the drum",
        ),
    },
    "bow": {
        "sea": (
            "cut through the waves",
            "pointed out of the harbour",
            "was painted blue like the boat",
            "rose with every wave",
        ),
        "music": (
            "slid over the strings",
            "belonged to the violin",
            "needed new hair",
            "trembled on a long tone",
        ),
    },
    "crane": {
        "forest": ("built its nest", "spread its wings", "stood on one leg", "flew over the clearing"),
        "city": (
            "lifted steel to the tower",
            "turned above the square",
            "was driven by the builder",
            "carried beams to the roof",
        ),
    },
    "horn": {
        "farm": (
            "grew on the cow",
            "was long and pointed",
            "got stuck in the fence",
            "scratched the stable door",
        ),
        "music": (
            "sounded in the concert hall",
            "was played by the singer",
            "was made of brass",
            "called from the stage",
        ),
    },
    "note": {
        "music": ("was sung too high", "ended the song", "rang through the opera", "was held by the choir"),
        "city": (
            "lay on the desk",
            "was signed by the clerk",
            "was put into the letter",
            "came with a stamp",
        ),
    },
    "pitcher": {
        "kitchen": (
            "was full of milk",
            "fell off the table",
            "was made of glass",
            "poured water for the soup",
        ),
        "sport": (
            "threw the ball",
            "ran across the field",
            "was the best of the team",
            "warmed up before the match",
        ),
    },
    "press": {
        "city": (
            "printed the newspaper",
            "reported from the square",
            "wanted an interview",
            "wrote about the mayor",
        ),
        "workshop": (
            "bent the iron",
            "flattened the plank",
            "was fixed to the bench",
            "squeezed oil from the pipe",
        ),
    },
    "scale": {
        "kitchen": (
            "weighed the onion",
            "showed two pounds of flour",
            "stood by the oven",
            "measured sugar for the cake",
        ),
        "music": (
            "was played up and down",
            "began with a low tone",
            "was practised on the piano",
            "was sung by the choir",
        ),
    },
    "spring": {
        "farm": (
            "came after a long winter",
            "made the meadow green",
            "brought the first lambs",
            "melted the snow on the fields",
        ),
        "workshop": (
            "was wound from steel",
            "snapped inside the engine",
            "was pressed with a screw",
            "pushed the lever back",
        ),
    },
    "wave": {
        "sea": ("broke on the beach", "rocked the boat", "washed over the deck", "carried the shells away"),
        "sport": (
            "went through the stadium",
            "was made by cheering fans",
            "started behind the goal",
            "was started before kickoff",
        ),
    },
}
"""Of each word the topics in which it occurs, and what is said of it there."""


def draw_documents(count: int, seed: int = 0) -> list[list[str]]:
    """So many documents of 10 to 20 sentences; topics take turns."""
    draw, topics = Random(stream(seed, "grammar")), tuple(TOPICS)
    return [_document(topics[number % len(topics)], draw) for number in range(count)]


def _document(topic: str, draw: Random) -> list[str]:
    about, (name, pronoun) = TOPICS[topic], draw.choice(PEOPLE)
    own = [(word, said) for word, senses in SENSES.items() for said in senses.get(topic, ())]
    return [
        f"{name} was {draw.choice(about.places)}.",
        *(_sentence(about, own, name, pronoun, draw) for _ in range(draw.randint(9, 19))),
    ]


def _sentence(about: Topic, own: Sequence[tuple[str, str]], name: str, pronoun: str, draw: Random) -> str:
    place, thing, like, done = (
        draw.choice(some) for some in (about.places, about.things, about.like, about.done)
    )
    whoever = draw.choice((name, pronoun.capitalize()))
    word, said = draw.choice(own)
    return draw.choice((
        f"{whoever} {done} the {like} {thing} {place}.",
        f"{whoever} {done} the {thing}.",
        f"The {thing} {place} was {like}.",
        f"The {about.worker} {done} the {thing} and {pronoun} helped.",
        f"The {like} {thing} belonged to the {about.worker}.",
        f"The {thing}s {place} were {like}.",
        f"The {word} {said}.",
        f"The {word} {said}.",
        f"{place.capitalize()} {pronoun} saw the {word}.",
    ))  # fmt: skip


@dataclass(frozen=True)
class Sense:
    """One sentence about an ambiguous word."""

    text: str
    word: str
    topic: str
    """Which of its senses it has here."""
    fold: int
    """Which of the things that are said of it in this sense."""

    @property
    def other(self) -> str:
        """The topic of its other sense."""
        return next(topic for topic in SENSES[self.word] if topic != self.topic)


def sense_sentences() -> list[Sense]:
    """All that is said of ambiguous words: "The bat flew out of the cave." Before the word nothing tells
    which is meant."""
    return [
        Sense(f"The {word} {said}.", word, topic, fold)
        for word, senses in SENSES.items()
        for topic, all_said in senses.items()
        for fold, said in enumerate(all_said)
    ]
