"""Training questions in other forms: the sentences are all there, and the answers where they are said to be."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasformer.data import Questions, join_questions, shuffle_sentences, vary_question_marks
from kerasformer.data.columns import object_column
from kerasformer.errors import InputError
from kerasformer.text import split_sentences


def asked(*rows, source="here"):
    """Of `(context, start, end)`, in bytes, or `(context, start, end, question)`."""
    rows = [(*row, "who saw")[:4] for row in rows]
    contexts, starts, ends, questions = zip(*rows, strict=True)
    answers = [(text.encode()[start:end].decode(),) if start >= 0 else () for text, start, end, _ in rows]
    columns = map(object_column, (questions, contexts, answers))
    return Questions(*columns, np.array(starts, np.int32), np.array(ends, np.int32), (), (), source)


def sentences_of(text):
    return [sentence.decode() for sentence in split_sentences(tf.constant([text]))[0][0].numpy()]


def answer_of(questions, row=0):
    return questions.contexts[row].encode()[questions.starts[row] : questions.ends[row]].decode()


def test_every_order_comes_and_the_answer_goes_with_its_sentence():
    text = "\tÉmile saw 漢字. Bob left!  Was it Ada?\n"
    start = text.encode().index("漢字".encode())
    seen = Counter()
    for seed in range(120):
        shuffled = shuffle_sentences(asked((text, start, start + 6)), seed)
        assert answer_of(shuffled) == "漢字"
        seen[shuffled.contexts[0]] += 1
    first, second, third = "Émile saw 漢字.", "Bob left!", "Was it Ada?"
    # White space stays, sentences move: all six orders, none of them rare.
    orders = [(first, second, third), (first, third, second), (second, first, third)]
    orders += [(second, third, first), (third, first, second), (third, second, first)]
    assert set(seen) == {f"\t{a} {b}  {c}\n" for a, b, c in orders}
    assert min(seen.values()) >= 8


def test_sentences_without_space_between_them():
    first, second, third = "東京です。", "Bob saw Rome", "いい！"
    text = f"{first}{third}{second}"
    start = text.encode().index(b"Rome")
    seen = set()
    for seed in range(60):
        shuffled = shuffle_sentences(asked((text, start, start + 4)), seed)
        assert answer_of(shuffled) == "Rome"
        seen.add(shuffled.contexts[0])
    assert seen == {
        f"{first}{second} {third}",
        f"{first}{third}{second}",
        f"{third}{first}{second}",
        f"{third}{second} {first}",
        f"{second} {first}{third}",
        f"{second} {third}{first}",
    }


def test_the_same_seed_the_same_order_and_each_context_its_own():
    text = " ".join(f"Sentence number {number} is here." for number in range(8))
    questions = asked(*[(text, 0, 8)] * 3)
    once, again, other = (shuffle_sentences(questions, seed) for seed in (1, 1, 2))
    assert once.contexts.tolist() == again.contexts.tolist() != other.contexts.tolist()
    assert len(set(once.contexts)) == 3
    assert questions.contexts.tolist() == [text] * 3
    assert questions.starts.tolist() == [0] * 3


def test_sentences_that_an_answer_goes_across_stay_together():
    text = "One is here. Two is there. Three is gone. Four is back."
    start, end = text.index("Two"), text.index(" is gone")
    contexts = set()
    for seed in range(60):
        shuffled = shuffle_sentences(asked((text, start, end)), seed)
        assert answer_of(shuffled) == "Two is there. Three"
        contexts.add(shuffled.contexts[0])
    assert len(contexts) == 6


def test_more_questions_than_are_split_at_once():
    # Two sentences, of which the second's length tells the row.
    rows = [(f"Ada left. Bob has {'x' * (row % 97)}y.", 10, 13) for row in range(2100)]
    shuffled = shuffle_sentences(asked(*rows), 0)
    assert [answer_of(shuffled, row) for row in range(2100)] == ["Bob"] * 2100
    assert [len(text) for text in shuffled.contexts] == [len(text) for text, *_ in rows]
    assert 900 < (shuffled.starts == 0).sum() < 1200


def test_what_has_no_place_moves_too_and_keeps_its_sign():
    text = " ".join(f"Number {number} is here." for number in range(9))
    shuffled = shuffle_sentences(asked((text, -1, -1), (text, -2, -2), ("", -1, -1), (" \n", -1, -1)), 0)
    assert shuffled.starts.tolist() == shuffled.ends.tolist() == [-1, -2, -1, -1]
    assert Counter(sentences_of(shuffled.contexts[0])) == Counter(sentences_of(text))
    assert shuffled.contexts[0] != text != shuffled.contexts[1]
    assert shuffled.contexts[2:].tolist() == ["", " \n"]


_WORDS = st.sampled_from(["Ada", "saw.", "Bob!", "漢字。", "e.g.", "«", "Mr.", "7", "नमस्ते।", "\n\n", "(x).", "\0", "é"])


@settings(max_examples=150, deadline=None)
@given(st.lists(_WORDS, max_size=12).map(" ".join), st.data())
def test_nothing_is_lost(text, data):
    size = len(text)
    begin = data.draw(st.integers(0, size))
    end = data.draw(st.integers(begin, size))
    answer = text[begin:end].strip()
    begin += len(text[begin:end]) - len(text[begin:end].lstrip())
    start = len(text[:begin].encode()) if answer else -1
    stop = start + len(answer.encode()) if answer else -1
    shuffled = shuffle_sentences(asked((text, start, stop)), data.draw(st.integers(0, 99)))
    assert answer_of(shuffled) == answer if answer else shuffled.starts[0] == -1
    # All words, and the sentences as they were.
    found = shuffled.contexts[0].replace("\0", " ")
    assert Counter(found.split()) == Counter(text.replace("\0", " ").split())
    assert all(sentence in found for sentence in sentences_of(text))


def test_question_marks():
    forms = {  # with none, with one
        "who saw": ("who saw", "who saw?"),
        "who saw?": ("who saw", "who saw?"),
        "who saw ?": ("who saw", "who saw ?"),
        "¿quién?": ("quién", "¿quién?"),
        "誰？？": ("誰", "誰？？"),
        "من؟ ": ("من", "من؟ "),
        "why?no": ("why?no", "why?no?"),
        "in “Rome”": ("in “Rome”", "in “Rome”?"),
        "¿ what": ("¿ what", "¿ what?"),
        "Name it.": ("Name it.", "Name it."),
        "what?!": ("what?!", "what?!"),
        "?": ("", "?"),
        "": ("", ""),
    }
    questions = asked(*[("Ada saw.", 0, 3, form) for form in forms])
    for share in (0, 1):
        assert vary_question_marks(questions, share, 0).questions.tolist() == [both[share] for both in forms.values()]
    many = questions.select(np.zeros(2000, int))
    half = vary_question_marks(many, 0.5, 7).questions
    assert set(half) == {"who saw", "who saw?"}
    assert 900 < (half == "who saw?").sum() < 1100
    assert half.tolist() == vary_question_marks(many, 0.5, 7).questions.tolist()
    assert half.tolist() != vary_question_marks(many, 0.5, 8).questions.tolist()
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="share"):
            vary_question_marks(questions, share, 0)


def test_joined():
    first = dataclasses.replace(asked(("Ada saw.", 0, 3), source="one"), repaired=("one: 1",))
    second = dataclasses.replace(asked(("Bob left.", -1, -1), ("Eve ran.", 4, 7), source="two"), skipped=("two: 3",))
    joined = join_questions([first, second, first])
    assert joined.contexts.tolist() == ["Ada saw.", "Bob left.", "Eve ran.", "Ada saw."]
    assert joined.answers.tolist() == [("Ada",), (), ("ran",), ("Ada",)]
    assert joined.starts.tolist() == [0, -1, 4, 0]
    assert joined.ends.dtype == np.int32
    assert joined.source == "one, two"
    assert joined.repaired == ("one: 1", "one: 1")
    assert joined.skipped == ("two: 3",)
    with pytest.raises(InputError, match="one source at least"):
        join_questions([])
