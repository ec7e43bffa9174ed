"""Reading both ways: what the readers are asked, and what is judged."""

from pathlib import Path

import pytest
import torch

from rayformer.claims.bidirectional import BACK, BLANKS, BOTH, CLAIM, UNTRAINED, _told
from rayformer.claims.claim import Measured
from rayformer.data.text.grammar import TOPICS, sense_sentences


def outcome(**words: tuple[float, ...]):
    cells = {cell.name: cell for cell in CLAIM.cells(True)}
    rows = {"both": BOTH, "blanks": BLANKS, "back": BACK, "untrained": UNTRAINED}
    return {
        name: Measured(
            cells[name],
            tuple(Path(str(seed)) for seed in range(len(words[short]))),
            tuple(
                {"word_percent": float(value), "sentence_percent": 80.0, "pair_percent": 70.0}
                for value in words[short]
            ),
        )
        for short, name in rows.items()
    }


def test_cells_differ_in_what_is_claimed_and_in_nothing_else():
    both, blanks, back, untrained = CLAIM.cells(False)
    assert both.config.model == blanks.config.model == untrained.config.model
    assert blanks.config.plan == back.config.plan == both.config.plan
    assert blanks.config.train == back.config.train
    assert (both.config.model.objective, back.config.model.objective) == ("mlm", "causal")
    assert untrained.config.plan.steps == 0


def test_the_claim_holds_where_looking_ahead_wins_by_more_than_seeds_differ():
    judge = CLAIM.judge
    assert judge(outcome(both=(90, 92), blanks=(88, 91), back=(50, 52), untrained=(55, 51))).holds
    assert not judge(outcome(both=(90, 92), blanks=(55, 53), back=(50, 52), untrained=(50, 51))).holds
    assert not judge(outcome(both=(90, 60), blanks=(88, 70), back=(50, 52), untrained=(55, 51))).holds
    assert not judge(outcome(both=(90, 92), blanks=(88, 91), back=(50, 52), untrained=(95, 94))).holds


def test_features_that_hold_the_topic_tell_all_senses_and_those_of_the_word_alone_none():
    drawn, topics = sense_sentences(), sorted(TOPICS)
    known = torch.eye(len(topics))[[topics.index(one.topic) for one in drawn]]
    assert _told(known, drawn) == 100.0
    words = sorted({one.word for one in drawn})
    blind = torch.eye(len(words))[[words.index(one.word) for one in drawn]]
    assert _told(blind, drawn) == pytest.approx(50.0, abs=5.0)


def test_the_picture_shows_every_network():
    picture = CLAIM.draw(outcome(both=(90, 92), blanks=(88, 91), back=(50, 52), untrained=(55, 51)))[
        "features"
    ]
    assert picture.pixels.std() > 10


@pytest.mark.slow
def test_the_small_size_runs_and_who_looks_back_stands_at_chance(tmp_path):
    found = CLAIM.reproduce(smoke=True, out=tmp_path)
    assert found.measured[BACK].results[0]["word_percent"] == pytest.approx(50.0, abs=0.1)
    assert {"word_percent", "sentence_percent", "pair_percent"} <= found.measured[BOTH].results[0].keys()
