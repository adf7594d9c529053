"""Questions made of texts: what they ask for stands where they say, and not in the question."""

import numpy as np
import pytest

from kerasformer.data import cloze_questions
from kerasformer.errors import InputError

TEXT = (
    "Ada Lovelace wrote notes on the Analytical Engine of Charles Babbage in 1843. Émile’s bridge, 210 metres long, "
    "was opened on 5 May 1921 by the mayor of Saint-Étienne. Nothing here."
)


def test_answers_stand_where_they_should():
    found = cloze_questions([TEXT], 50)
    assert {answers[0] for answers in found.answers} == {
        "Ada Lovelace",
        "Analytical Engine of Charles Babbage",
        "1843",
        "210",
        "5 May 1921",
        "Saint-Étienne",
    }
    for question, context, (answer,), start, end in zip(
        found.questions, found.contexts, found.answers, found.starts, found.ends, strict=True
    ):
        assert context == TEXT
        assert TEXT.encode()[start:end].decode() == answer
        assert answer not in question
        first, *rest = question.split()
        assert first == {"1843": "when", "5 May 1921": "when", "210": "how"}.get(answer, first)
        assert first in ("who", "what", "which", "where", "when", "how")
        assert len(rest) >= 3
        others = {word.strip(".,") for word in TEXT.split()}
        assert set(rest) - {"many"} <= others


def test_as_many_as_asked_and_the_same_with_the_same_seed():
    texts = [TEXT, "Nothing is here to ask for at all.", "漢字。", "", TEXT]
    found = cloze_questions(texts, 2, seed=3)
    assert found.contexts.tolist() == [TEXT] * 4
    again, other = cloze_questions(texts, 2, seed=3), cloze_questions(texts, 2, seed=4)
    np.testing.assert_array_equal(found.questions, again.questions)
    assert found.questions.tolist() != other.questions.tolist()
    assert not found.has_unanswerable


def test_no_question_holds_its_answer():
    text = "The bridge of Rome is older than all other bridges in Rome and in Ostia."
    assert set(cloze_questions([text], 9).answers) == {("Ostia",)}


def test_mistakes():
    with pytest.raises(InputError, match="per_text=0"):
        cloze_questions([TEXT], 0)
    with pytest.raises(InputError, match=r"No sentence of mine\.json"):
        cloze_questions(["nothing here", ""], 3, source="mine.json")
