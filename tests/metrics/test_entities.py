"""Entities of tags against the state machine of the CoNLL-2000 script, written again from its rules."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasformer.metrics import count_entities, entities_of, precision_recall_f1, split_tag


class Conlleval:
    """conlleval.pl, statement for statement: it counts while it walks, and never builds an entity."""

    def __init__(self):
        self.correct = self.found_correct = self.found_guessed = 0

    @staticmethod
    def end_of_chunk(before, tag, kind_before, kind):
        end = False
        end |= before == "B" and tag in ("B", "O", "S")
        end |= before == "I" and tag in ("B", "O", "S")
        end |= before in ("E", "S")
        return end or (before != "O" and kind_before != kind)

    @staticmethod
    def start_of_chunk(before, tag, kind_before, kind):
        start = tag in ("B", "S")
        start |= before == "E" and tag in ("E", "I")
        start |= before == "S" and tag in ("E", "I")
        start |= before == "O" and tag in ("E", "I")
        return start or (tag != "O" and kind_before != kind)

    def sentence(self, wanted, guessed):
        in_correct, last = False, (("O", ""), ("O", ""))
        for pair in [*zip(wanted, guessed, strict=True), (("O", ""), ("O", ""))]:
            ends = [self.end_of_chunk(b, t, kb, k) for (b, kb), (t, k) in zip(last, pair, strict=True)]
            starts = [self.start_of_chunk(b, t, kb, k) for (b, kb), (t, k) in zip(last, pair, strict=True)]
            if in_correct:
                if ends[0] and ends[1] and last[0][1] == last[1][1]:
                    in_correct = False
                    self.correct += 1
                elif ends[0] != ends[1] or pair[0][1] != pair[1][1]:
                    in_correct = False
            if starts[0] and starts[1] and pair[0][1] == pair[1][1]:
                in_correct = True
            self.found_correct += starts[0]
            self.found_guessed += starts[1]
            last = pair

    @property
    def scores(self):
        precision = self.correct / self.found_guessed if self.found_guessed else 0.0
        recall = self.correct / self.found_correct if self.found_correct else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        return precision, recall, f1


tag = st.one_of(st.just(("O", "")), st.tuples(st.sampled_from("BIES"), st.sampled_from(["x", "y"])))
sentences = st.lists(st.lists(st.tuples(tag, st.one_of(tag, st.none())), max_size=8), max_size=4)


@settings(max_examples=400, deadline=None)
@given(sentences)
def test_counts_are_those_of_conlleval(pairs):
    script, wanted, guessed = Conlleval(), [], []
    for number, sentence in enumerate(pairs):
        right = [want for want, _ in sentence]
        guess = [want if got is None else got for want, got in sentence]  # often right
        script.sentence(right, guess)
        wanted += [(number, *entity) for entity in entities_of(right)]
        guessed += [(number, *entity) for entity in entities_of(guess)]
    counts = [sum(column) for column in zip(*count_entities(wanted, guessed).values(), strict=True)] or [0, 0, 0]
    assert counts == [script.correct, script.found_guessed, script.found_correct]
    assert precision_recall_f1(*counts) == pytest.approx(script.scores)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-x I-x O B-y", [(0, 2, "x"), (3, 4, "y")]),
        ("B-x B-x", [(0, 1, "x"), (1, 2, "x")]),
        ("I-x I-x O I-y I-x", [(0, 2, "x"), (3, 4, "y"), (4, 5, "x")]),
        ("S-x B-x I-x E-x E-x O", [(0, 1, "x"), (1, 4, "x"), (4, 5, "x")]),
        ("U-x B-x I-x L-x", [(0, 1, "x"), (1, 4, "x")]),
        ("O", []),
        ("", []),
    ],
)
def test_schemes(tags, expected):
    assert entities_of([split_tag(tag) for tag in tags.split()]) == expected


@pytest.mark.parametrize("tag", ["", "B", "X-y", "O-x", "B-", "disease"])
def test_what_is_no_tag(tag):
    with pytest.raises(ValueError):
        split_tag(tag)


def test_types_are_counted_apart():
    wanted, guessed = [(0, 0, 1, "x"), (0, 2, 3, "y")], [(0, 0, 1, "x"), (0, 2, 3, "x")]
    assert count_entities(wanted, guessed) == {"x": [1, 2, 1], "y": [0, 0, 1]}


@given(st.lists(st.lists(st.tuples(*[st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"])] * 2), min_size=1, max_size=8)))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_seqeval_gives_the_same_numbers(rows):
    metrics = pytest.importorskip("seqeval.metrics")
    expected, predicted = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    found = [
        {
            (number, *entity)
            for number, row in enumerate(side)
            for entity in entities_of([split_tag(tag) for tag in row])
        }
        for side in (expected, predicted)
    ]
    counts = count_entities(*found).values()
    ours = precision_recall_f1(*(sum(column) for column in zip((0, 0, 0), *counts, strict=True)))
    theirs = metrics.precision_score, metrics.recall_score, metrics.f1_score
    if found[0] and found[1]:
        assert ours == pytest.approx([score(expected, predicted) for score in theirs])
