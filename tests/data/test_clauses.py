"""Clauses of English sentences: units, subjects, what follows a verb, and the base forms of verbs."""

import pytest

from kerasformer.data.clauses import Sentence, do_support


def parts(text, topic=None):
    sentence = Sentence(text)
    return [
        tuple(
            " ".join(words)
            for words in (
                clause.subject,
                sentence.words_of([clause.verb]),
                sentence.words_of(clause.before),
                sentence.words_of(clause.after),
            )
        )
        for clause in sentence.clauses(topic)
    ]


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        (
            "The harbour of Visby was closed in 1874 by the council.",
            [("the harbour of Visby", "was closed", "", "in 1874 by the council")],
        ),
        (
            "In 1905, Einstein published four papers on the photoelectric effect.",
            [("Einstein", "published", "In 1905", "four papers on the photoelectric effect")],
        ),
        # An insertion between commas, and a clause of its own for what it is known for.
        (
            "Visby, a town on Gotland, is known for its walls, which were built in the 13th century.",
            [("Visby", "is known", "", "for its walls"), ("its walls", "were built", "", "in the 13th century")],
        ),
        ("Visby (a town) has walls.", [("Visby", "has", "", "walls")]),
        ("The mayor closed the harbour and opened a new one.", [("the mayor", "closed", "", "the harbour")]),
        # A list goes on after its commas.
        ("The company sells iron, salt and grain.", [("the company", "sells", "", "iron , salt and grain")]),
        # What stands after a preposition is no subject; nor is there one for a command.
        ("In the harbour was closed.", []),
        ("Close the harbour.", []),
        ("", []),
        ("漢字。", []),
        # A table.
        ("The harbour was closed in 1874. " * 12, []),
    ],
)
def test_clauses(text, clauses):
    assert parts(text) == clauses


def test_a_pronoun_stands_for_the_topic():
    topic = Sentence("The bridge of Visby is old.").topic()
    assert topic == ["the", "bridge"]
    assert parts("It was opened on 5 May 1921.", topic) == [("the bridge", "was opened", "", "on 5 May 1921")]
    assert parts("It was opened on 5 May 1921.") == []
    assert parts("We opened it on 5 May 1921.", topic) == []
    assert Sentence("Was.").topic() is None


def test_words_know_their_places():
    text = "Émile’s bridge – 210 metres long – “was” opened by O'Connor for U.S. $5 million 😀."
    sentence = Sentence(text)
    for word, start, end in zip(sentence.words, sentence.starts, sentence.ends, strict=True):
        assert text[start:end] == word
    assert sentence.words[:2] == ["Émile", "’s"]
    assert {"O'Connor", "U.S.", "$"} <= set(sentence.words)
    assert not {"“", "”"} & set(sentence.words)
    # An accent of its own stays with its letter.
    assert "Que\u0301bec" in Sentence("The mayor of Que\u0301bec left.").words
    first = sentence.words.index("bridge")
    assert sentence.cut(first, first + 1) == ("bridge", 8, 14)


@pytest.mark.parametrize(
    ("verb", "auxiliary", "base"),
    [
        *[(verb, "did", base) for verb, base in [("published", "publish"), ("used", "use"), ("stopped", "stop")]],
        *[(verb, "did", base) for verb, base in [("passed", "pass"), ("added", "add"), ("carried", "carry")]],
        *[(verb, "did", base) for verb, base in [("agreed", "agree"), ("Became", "become"), ("put", "put")]],
        *[(verb, "does", base) for verb, base in [("takes", "take"), ("watches", "watch"), ("carries", "carry")]],
        *[(verb, "does", base) for verb, base in [("comes", "come"), ("knows", "know"), ("rates", "rate")]],
        *[(verb, "does", base) for verb, base in [("adjoins", "adjoin"), ("goes", "go"), ("dies", "die")]],
        *[(verb, "do", verb) for verb in ["sell", "discuss", "focus"]],
    ],
)
def test_do_asks_with_the_base_form(verb, auxiliary, base):
    assert do_support(verb) == (auxiliary, base)
