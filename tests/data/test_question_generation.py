"""Questions made of sentences: the answer stands where they say, and not in the question."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasformer.data import generate_questions
from kerasformer.errors import InputError

VISBY = "The harbour of Visby was closed in 1874 by the council."
ASKING = {"who", "what", "which", "where", "when", "how"}
PREPOSITIONS = {"in", "to", "by", "for", "from", "with", "of", "on", "at", "during", "under"}


def asked(text):
    """All pairs of question and answer that 200 draws give."""
    made = generate_questions([text] * 200, 99)
    return set(zip(made.questions, (answers[0] for answers in made.answers), strict=True))


def check(made):
    for question, context, (answer,), start, end in zip(
        made.questions, made.contexts, made.answers, made.starts, made.ends, strict=True
    ):
        assert context.encode()[start:end].decode() == answer
        assert answer
        assert answer.lower() not in question.lower()
        first, second, *_ = question.split()
        assert first in ASKING or (first in PREPOSITIONS and second in ASKING)
        assert 4 <= len(question.split()) <= 22


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (
            VISBY,
            {
                ("when was the harbour of Visby closed by the council", "1874"),
                ("what year was the harbour of Visby closed in by the council", "1874"),
                ("what was closed in 1874 by the council", "harbour of Visby"),
                ("what was closed in 1874 by the council", "The harbour of Visby"),
                ("by what was the harbour of Visby closed in 1874", "the council"),
                ("which council was the harbour of Visby closed in 1874 by", "the council"),
            },
        ),
        (
            "In 1905, Einstein published four papers on the photoelectric effect.",
            {
                ("who published four papers on the photoelectric effect in 1905", "Einstein"),
                ("how many papers did Einstein publish on the photoelectric effect", "four"),
                ("when did Einstein publish four papers on the photoelectric effect", "1905"),
                ("on what did Einstein publish four papers in 1905", "photoelectric effect"),
            },
        ),
        (
            "The hall has 40 % of the chairs. It was sold for $5 million to a painter in Lyon.",
            {
                ("what percentage has the hall of the chairs", "40 %"),
                ("how much was the hall sold for to a painter in Lyon", "$5 million"),
                ("who was the hall sold for $5 million to in Lyon", "a painter"),
                ("where was the hall sold for $5 million to a painter", "Lyon"),
            },
        ),
        (
            "Songs written by Ada Lovelace were lost. The Church of Ribe can hold iron and salt.",
            {
                ("who was Songs written by", "Ada Lovelace"),
                ("which church can hold iron and salt", "Church of Ribe"),
                ("what can the Church of Ribe hold", "iron and salt"),
            },
        ),
    ],
)
def test_sentences_are_turned_around(text, pairs):
    found = asked(text)
    assert pairs <= found, sorted(found)


def test_what_is_not_asked_for():
    # What points elsewhere or says nothing, and what stands in the question a second time.
    found = asked(
        "The harbour was closed by the council. His mother gave this town many others. Rome was ruled by Rome."
    )
    assert {answer.removeprefix("The ").removeprefix("the ") for _, answer in found} == {"harbour", "council"}


def test_answers_stand_where_they_should():
    text = (
        "🏰 Émile’s bridge in Århus, 210 metres long, was opened on 5 May 1921 by Søren Ågård. 漢字。 It has 12 arches."
    )
    made = generate_questions([text, "", "漢字。", VISBY], 50, seed=1)
    check(made)
    assert {"5 May 1921", "Søren Ågård", "12"} <= {answers[0] for answers in made.answers}
    assert set(made.contexts) == {text, VISBY}
    assert not made.has_unanswerable


def test_as_many_as_asked_and_the_same_with_the_same_seed():
    texts = [VISBY, "Nothing", VISBY]
    made = generate_questions(texts, 2, seed=[3, 1])
    assert made.contexts.tolist() == [VISBY] * 4
    again, other = generate_questions(texts, 2, seed=[3, 1]), generate_questions(texts, 2, seed=[3, 2])
    np.testing.assert_array_equal(made.questions, again.questions)
    assert made.questions.tolist() != other.questions.tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                re.findall(
                    r"\S+", "The a harbour Visby council was is closed in by 1874 four % $5 it which and , . ( ) -"
                )
            ),
            st.text(max_size=6),
        ),
        max_size=40,
    ).map(" ".join)
)
def test_any_text(text):
    check(generate_questions([text, VISBY], 9))


def test_mistakes():
    with pytest.raises(InputError, match="per_text=0"):
        generate_questions([VISBY], 0)
    with pytest.raises(InputError, match=r"No sentence of mine\.json"):
        generate_questions(["Nothing here", ""], 3, source="mine.json")
