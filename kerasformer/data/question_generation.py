"""Questions made of texts alone, to learn to find answers on where there are no real questions, or few."""

import re
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kerasformer.data.clauses import Sentence, do_support
from kerasformer.data.columns import object_column
from kerasformer.data.questions import Questions
from kerasformer.errors import InputError
from kerasformer.text import split_sentences

# How often each kind of answer is asked for, where a text has them all. Of SQuAD's answers a third are names, a fifth
# dates and numbers, and most others phrases (Rajpurkar et al. 2016, table 2).
_SHARES = {"time": 1.0, "number": 1.0, "name": 2.5, "phrase": 4.0}
_AUXILIARY = re.compile(
    r"(?:is|was|are|were|am|has|had|have|can|could|will|would|may|might|must|should|did|does|do|be|been)$"
)
_PLACES = {"in", "at", "near", "from", "to", "within", "across", "throughout"}
_BEFORE_QUESTIONS = {"in", "to", "by", "for", "from", "with", "of", "on", "at", "during", "under"}
_PEOPLE = re.compile(r"(?:ers?|ors?|ists?|ians?|m[ae]n|people|king|queen|president|children)$")
_ORGANIZATION = re.compile(
    r"\b(?:University|Company|Party|Council|Club|League|Museum|River|School|College|Church|Association|Army|Act|War|Award"
    r"|Cup|Island|Festival|Series|Empire|State|County|Street|Bridge|Park|Band|Group|Lake|Valley|Union|Court|House|Treaty"
    r"|Channel|Network)\b"
)
_SAYS_NOTHING = re.compile(
    r"(?:this|that|these|those|one|which|who|what|all|some|many|most|other|others|time|way|part)$"
)
_POINTS_ELSEWHERE = re.compile(r"(?:this|these|those|that|his|her|its|their|my|our|your)$")
_YEAR = re.compile(r"(?:1\d|20)\d\d$")
_FEWEST, _MOST, _AFTER = 4, 22, 9
_LONGEST_ANSWER, _MOST_ANSWER_WORDS = 80, 7


class _Asked(NamedTuple):
    """A question and the answer's place in the sentence, in characters."""

    kind: str
    question: str
    start: int
    end: int


def generate_questions(texts, per_text, *, seed=0, source="texts") -> Questions:
    """Questions that sentences of English texts answer, turned around by rules (Heilman and Smith 2010; for question
    answering without questions: Lewis et al. 2019, arXiv:1906.04980; Fabbri et al. 2020, arXiv:2004.11892).

    "The harbour of Visby was closed in 1874 by the council" gives "when was the harbour of Visby closed by the
    council", "what was closed in 1874 by the council" and "by who was the harbour of Visby closed in 1874": a noun
    phrase, name, number or time is asked for by a word that fits it, the verb's auxiliary comes to the front, a pronoun
    is replaced by what the text begins with. The rules know parts of speech, and neither what a word means nor the
    structure of a whole sentence: many of the questions are not what a person would say. They begin with a small letter
    and end without a mark.

    Args:
        texts: list of str, the contexts.
        per_text: questions of each text at most; one with fewer that can be asked gives fewer.
        seed: int or a list of them, of what is asked and how.
        source: what to call the texts in errors.

    Raises:
        InputError: `per_text` is below 1, or no text gives a question.
    """
    if per_text < 1:
        raise InputError(f"`per_text` must be 1 or more. Received: per_text={per_text}.")
    random = np.random.default_rng(seed)
    rows = []
    for begin in range(0, len(texts), 1000):
        part = list(texts[begin : begin + 1000])
        _, starts, ends = split_sentences(tf.constant(part, tf.string))
        for text, *spans in zip(part, starts.to_list(), ends.to_list(), strict=True):
            rows += _questions_of(text, list(zip(*spans, strict=True)), per_text, random)
    if not rows:
        raise InputError(f"No sentence of {source} could be turned into a question: it takes English ones with a verb.")
    *texts, starts, ends = zip(*rows, strict=True)
    places = (np.array(column, np.int32) for column in (starts, ends))
    return Questions(*map(object_column, texts), *places, (), (), source)


def _questions_of(text, spans, most, random):
    """Rows of question, text, answers, start and end, in bytes, of a text with sentences at these places."""
    raw, topic, found = text.encode(), None, {}
    for start, end in spans:
        sentence = Sentence(raw[start:end].decode("utf-8", "replace"))
        for clause in sentence.clauses(topic):
            for asked in _asked_of(sentence, clause, random):
                found.setdefault(asked.kind, []).append((start, sentence.text, asked))
        topic = topic or sentence.topic()
    rows = []
    while found and len(rows) < most:
        kinds = sorted(found)
        shares = np.array([_SHARES[kind] for kind in kinds])
        kind = kinds[random.choice(len(kinds), p=shares / shares.sum())]
        start, sentence, asked = found[kind].pop(random.integers(len(found[kind])))
        if not found[kind]:
            del found[kind]
        answer = sentence[asked.start : asked.end]
        first = start + len(sentence[: asked.start].encode())
        rows.append((asked.question, text, (answer,), first, first + len(answer.encode())))
    return rows


def _asked_of(sentence, clause, random):
    """Yields what a clause can be asked for: its subject, and each phrase or time that stands around them."""
    verb = sentence.words_of([clause.verb])
    before = _small(sentence.words_of(clause.before), sentence, clause.before)
    if clause.place is not None:
        after = sentence.words_of(_shortened(clause.after, random))
        wanted = after and _wanted(sentence, clause.place.start, clause.place.end, None, random)
        if wanted:
            kind, word, start, end = wanted
            tail = before if random.random() < 0.5 else []
            yield from _checked(sentence, kind, [word, *verb, *after, *tail], start, end)
    auxiliary, rest = _turned(sentence, clause)
    if auxiliary is None:
        return
    for units in (clause.after, clause.before):
        for place, unit in enumerate(units):
            if unit.kind not in ("phrase", "time"):
                continue
            last = _last_of_answer(sentence, units, place, random)
            preposition = ""
            if place and units[place - 1].kind == "I":
                preposition = sentence.words[units[place - 1].start].lower()
            wanted = _wanted(sentence, unit.start, units[last].end, preposition, random)
            if not wanted:
                continue
            kind, word, start, end = wanted
            left, right = list(units[:place]), list(units[last + 1 :])
            front = []
            if preposition and word in ("when", "where"):
                left = left[:-1]
            elif preposition in _BEFORE_QUESTIONS and random.random() < 0.3:
                left, front = left[:-1], [preposition]
            # Of "four papers" the number is asked for, the rest goes with the question: how many papers.
            counted = sentence.words[end : units[last].end]
            asked = [*front, word, *counted, auxiliary, *clause.subject, *rest]
            if units is clause.before:
                asked += sentence.words_of(_shortened(clause.after, random)) + sentence.words_of(left)
            else:
                asked += sentence.words_of(left)[-10:] + sentence.words_of(_shortened(right, random))
                asked += before if random.random() < 0.5 else []
            yield from _checked(sentence, kind, asked, start, end)


def _turned(sentence, clause):
    """The auxiliary that a question begins with and the rest of the verb, or None and nothing."""
    verb = sentence.words_of([clause.verb])
    for place, word in enumerate(verb):
        if _AUXILIARY.match(word.lower()):
            return word.lower(), verb[:place] + verb[place + 1 :]
    letters = sentence.letters[clause.verb.start : clause.verb.end]
    place = next((place for place, letter in enumerate(letters) if letter in "VE"), None)
    if place is None:
        return None, []
    if letters[place] == "E" and clause.after and clause.after[0].kind == "I":
        # Of "a song written by two brothers" or "the papers published in 1905".
        return "was", verb
    auxiliary, base = do_support(verb[place])
    return auxiliary, [*verb[:place], base, *verb[place + 1 :]]


def _last_of_answer(sentence, units, place, random):
    """The place of the last unit of an answer that begins there: of "the mayor of Visby", or of "salt and iron"."""
    kinds = [unit.kind for unit in units[place : place + 3]]
    if kinds == ["phrase", "K", "phrase"]:
        return place + 2
    is_of = kinds == ["phrase", "I", "phrase"] and sentence.words[units[place + 1].start] == "of"
    return place + 2 if is_of and random.random() < 0.85 else place


def _wanted(sentence, start, end, preposition, random):
    """The kind of what stands there, a word that asks for it, and the words that answer, or None.

    `preposition`: the one before it, "" where there is none, None for a subject.
    """
    letters, words = sentence.letters[start:end], sentence.words[start:end]
    if set(letters) == {"t"}:
        is_year = len(words) == 1 and _YEAR.match(words[0]) and preposition is not None
        return "time", "what year" if is_year and random.random() < 0.5 else "when", start, end
    if letters[0] == "$":
        return "number", "how much", start, end
    if letters[-1] == "%":
        return "number", "what percentage", start, end
    if letters[0] == "C":
        numbers = len(letters) - len(letters.lstrip("C"))
        return "number", "how many", start, start + numbers
    if letters[0] == "D" and _POINTS_ELSEWHERE.match(words[0].lower()):
        return None
    if letters[0] in "DA" and end - start > 1 and random.random() < 0.7:
        start, letters, words = start + 1, letters[1:], words[1:]
    if not any(len(word) > 2 and not _SAYS_NOTHING.match(word.lower()) for word in words):
        return None
    body = re.sub("[DSIK]", "", letters)
    if letters[-1] == "P" and body.count("P") >= max(1, len(body) - 1):
        return "name", _word_for_name(words, letters, preposition, random), start, end
    if len(words) > _MOST_ANSWER_WORDS:
        return None
    head = words[len(letters[1:].split("I")[0])]
    choices = ["who", "what"] if _PEOPLE.search(head) else ["what"]
    if len(words) > 1 and random.random() < 0.35:
        choices = [f"what {head}", f"which {head}"]
    return "phrase", str(random.choice(choices)), start, end


def _word_for_name(words, letters, preposition, random):
    if preposition in _PLACES and random.random() < 0.7:
        return str(random.choice(["where", "where", "what place", "what city", "what country"]))
    kind = _ORGANIZATION.search(" ".join(words))
    if kind:
        name = kind.group().lower()
        return str(random.choice(["what", f"which {name}", f"what {name}"]))
    if letters in ("PP", "PPP"):
        return str(random.choice(["who", "who", "who", "what"]))
    return str(random.choice(["who", "what"]))


def _shortened(units, random):
    """As many units as a question has room for, sometimes without a last preposition and what follows it."""
    kept = [unit for unit in units if unit.end - units[0].start <= _AFTER]
    while kept and kept[-1].kind in ("I", ",", "K", "("):
        kept.pop()
    if random.random() < 0.3:
        last = next((place for place in range(len(kept) - 1, 1, -1) if kept[place].kind == "I"), len(kept))
        return kept[:last]
    return kept


def _small(words, sentence, units):
    """The words, a preposition that begins the sentence with a small letter."""
    return [words[0].lower(), *words[1:]] if units and units[0].start == 0 else words


def _checked(sentence, kind, asked, first, last):
    """Yields the question where it is one."""
    answer, start, end = sentence.cut(first, last)
    question = " ".join(word for word in asked if re.search(r"[\w%$£€¥]", word))
    question = re.sub(r" (?=['’]s\b)|(?<=[$£€¥]) (?=\d)", "", question)
    words = question.count(" ") + 1
    is_short = _FEWEST <= words <= _MOST and len(answer) <= _LONGEST_ANSWER
    # Bytes that were none of a character would not be those of the text.
    if is_short and answer.lower() not in question.lower() and "\ufffd" not in sentence.text:
        yield _Asked(kind, question, start, end)
