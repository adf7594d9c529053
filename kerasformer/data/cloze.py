"""Questions made of texts alone, to learn to find answers on before there are real questions, or few."""

import re

import numpy as np
import tensorflow as tf

from kerasformer.data.columns import object_column
from kerasformer.data.questions import Questions
from kerasformer.errors import InputError
from kerasformer.text import split_sentences

# A name of up to five words, or a number.
_NAME = r"[A-Z][\w'’-]*(?: (?:(?:of|the|de|von|and) )?[A-Z][\w'’-]*){0,4}"
_NUMBER = r"\d+(?:[.,]\d+)*(?: (?:percent|%|million|billion|years|miles|km|kilometres))?"
_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DATE = rf"(?:\d{{1,2}} )?{_MONTH} (?:\d{{1,2}}(?: ?, ?\d{{4}})?|\d{{4}})"
_ANSWER = re.compile(rf"\b(?:{_DATE}\b|{_NAME}|{_NUMBER})")
_WHEN = re.compile(rf"(?:1\d|20)\d\d$|(?:\d{{1,2}} )?{_MONTH} \d")
_MOST_WORDS, _FEWEST_WORDS = 14, 5
_DROPPED, _MOVED = 0.2, 2.0


def cloze_questions(texts, per_text, *, seed=0, source="texts") -> Questions:
    """Cloze questions with noise (Lewis et al. 2019, arXiv:1906.04980, sections 2.1 to 2.3, without named-entity
    recognition or translation).

    A name or a number is cut out of a sentence; the words around it, some left out and some moved, with a word such as
    "who" or "when" before them, ask for it; the text as a whole is the context. For languages that write names with
    capital letters and ask as English does.

    Args:
        texts: list of str, the contexts.
        per_text: questions of each text at most; one that holds fewer names and numbers gives fewer.
        seed: int or a list of them, of what is asked, left out and moved. Any seed gives as many questions.
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
        for text, spans in zip(part, zip(starts.to_list(), ends.to_list(), strict=True), strict=True):
            raw = text.encode()
            found = []
            for start, end in zip(*spans, strict=True):
                sentence = raw[start:end].decode("utf-8", "replace")
                found += [(start, sentence, match) for match in _answers_in(sentence)]
            for place in random.permutation(len(found))[:per_text]:
                start, sentence, match = found[place]
                question = _question(sentence, match, random)
                byte_start = start + len(sentence[: match.start()].encode())
                rows.append((question, text, (match.group(),), byte_start, byte_start + len(match.group().encode())))
    if not rows:
        raise InputError(f"No sentence of {source} holds a name or number to ask for.")
    *texts, starts, ends = zip(*rows, strict=True)
    places = (np.array(column, np.int32) for column in (starts, ends))
    return Questions(*map(object_column, texts), *places, (), (), source)


def _answers_in(sentence):
    """Matches of names and numbers, where enough words are left to ask with.

    A single word that begins the sentence is none, since any word has a capital there; nor what stands a second time in
    the sentence, since the question would hold its answer.
    """
    if len(sentence.split()) < _FEWEST_WORDS + 1:
        return []
    matches = list(_ANSWER.finditer(sentence))
    return [
        match
        for match in matches
        if (match.start() or " " in match.group() or match.group()[0].isdigit()) and sentence.count(match.group()) == 1
    ]


def _question(sentence, match, random):
    answer = match.group()
    if _WHEN.match(answer):
        word = "when"
    elif answer[0].isdigit():
        word = "how many"
    else:
        word = str(random.choice(["who", "what", "which", "where"]))
    before, after = sentence[: match.start()].split(), sentence[match.end() :].split()
    # The words nearest to the answer, as many as fit, in their order.
    room = int(random.integers(_FEWEST_WORDS, _MOST_WORDS + 1))
    left = min(len(before), max(room // 2, room - len(after)))
    words = before[len(before) - left :] + after[: room - left]
    words = [word for word in words if re.search(r"\w", word)]
    kept = [word for word in words if random.random() >= _DROPPED] or words
    order = np.argsort(np.arange(len(kept)) + random.uniform(0, _MOVED, len(kept)), kind="stable")
    return " ".join([word, *[kept[place].strip(".,;:()\"'") for place in order]])
