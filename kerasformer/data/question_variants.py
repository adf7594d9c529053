"""Training questions in other forms, so that a model does not learn what is chance in their data set."""

import dataclasses
import re

import numpy as np
import tensorflow as tf

from kerasformer.data.columns import object_column
from kerasformer.data.questions import Questions
from kerasformer.errors import InputError
from kerasformer.text import split_sentences

_COLUMNS = ("questions", "contexts", "answers", "starts", "ends")
_MARK = re.compile(r"\s*[?？؟]+\s*$")
_TAKES_MARK = re.compile(r"[\w)\]\"'”’»%]$")
_SENTENCE_END = re.compile(r"[.!?…‥।॥؟۔።。！？｡]\W*$")


def join_questions(parts: list[Questions]) -> Questions:
    """Questions of several sources, concatenated.

    Raises:
        InputError: `parts` is empty.
    """
    if not parts:
        raise InputError("`parts` must hold the questions of one source at least. Received: none.")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    repaired, skipped = (sum((getattr(part, name) for part in parts), ()) for name in ("repaired", "skipped"))
    source = ", ".join(dict.fromkeys(part.source for part in parts))
    return Questions(**columns, repaired=repaired, skipped=skipped, source=source)


def shuffle_sentences(questions: Questions, seed: int | list[int]) -> Questions:
    """The questions on contexts with their sentences in another order, and the answers at their new positions.

    Where answers are mostly at the beginning, as in paragraphs of an encyclopedia, a model learns the place instead
    of reading (Ko et al. 2020, arXiv:2004.14602). Sentences that the answer goes across stay together. The white space
    between sentences stays where it is; where there is none, a space parts a sentence that has no mark at its end from
    the next.

    Args:
        questions: what `load_questions` returns.
        seed: int or a list of them, of the order; the same questions and seed return the same order.
    """
    random = np.random.default_rng(seed)
    contexts, starts, ends = [], questions.starts.copy(), questions.ends.copy()
    for begin in range(0, len(questions), 1000):
        part = questions.contexts[begin : begin + 1000]
        sentences = _sentences(list(dict.fromkeys(part)))
        for text in part:
            row, raw = len(contexts), text.encode()
            start, end = int(starts[row]), int(ends[row])
            units = _kept_together(sentences[text], start, end)
            # What is before, between and after them; of n there are n + 1.
            edges = [0, *(place for unit in units for place in unit), len(raw)]
            gaps = [raw[left:right] for left, right in zip(edges[::2], edges[1::2], strict=True)]
            pieces = gaps[:1]
            for place, unit in enumerate(random.permutation(len(units)), 1):
                first, last = units[unit]
                if first <= start and end <= last:
                    starts[row] = sum(map(len, pieces)) + start - first
                    ends[row] = starts[row] + end - start
                is_glued = not gaps[place] and place < len(units) and not _SENTENCE_END.search(raw[first:last].decode())
                pieces += [raw[first:last], b" " if is_glued else gaps[place]]
            contexts.append(b"".join(pieces).decode())
    return dataclasses.replace(questions, contexts=object_column(contexts), starts=starts, ends=ends)


def vary_question_marks(questions: Questions, share: float, seed: int | list[int]) -> Questions:
    """The questions, a share of them with a mark at their end and the others with none.

    For data in which all have one, as in SQuAD, or none, as in Natural Questions, while users ask either way. A mark
    that is there stays as it is, or goes, in Spanish with the one at the beginning; a question without one that ends
    with a letter, a digit, a quotation mark or a bracket gets "?".

    Args:
        questions: what `load_questions` returns.
        share: of questions with a mark, from 0 to 1.
        seed: int or a list of them, of the choice.

    Raises:
        InputError: `share` is not a number from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise InputError(f"`share` must be a number from 0 to 1. Received: share={share!r}.")
    marked = np.random.default_rng(seed).random(len(questions)) < share
    texts = [
        _with_mark(text) if mark else _without_mark(text)
        for text, mark in zip(questions.questions, marked, strict=True)
    ]
    return dataclasses.replace(questions, questions=object_column(texts))


def _with_mark(question):
    return f"{question}?" if _TAKES_MARK.search(question) else question


def _without_mark(question):
    bare = _MARK.sub("", question)
    return bare if bare == question else bare.removeprefix("¿")


def _sentences(texts):
    """Spans of the sentences of each text, in bytes, by the text."""
    _, *places = split_sentences(tf.constant(texts, tf.string, shape=[len(texts)]))
    starts, ends = (ragged.to_list() for ragged in places)
    return {text: list(zip(*spans, strict=True)) for text, *spans in zip(texts, starts, ends, strict=True)}


def _kept_together(sentences, start, end):
    """Spans of sentences, those that the answer from `start` to `end` goes across as one; in bytes."""
    if start < 0:
        return sentences
    touched = [place for place, (first, last) in enumerate(sentences) if first < end and start < last]
    if not touched:
        return []
    union = sentences[touched[0]][0], sentences[touched[-1]][1]
    if not (union[0] <= start and end <= union[1]):
        # Of bytes that no sentence has, such as zeros.
        return []
    return [*sentences[: touched[0]], union, *sentences[touched[-1] + 1 :]]
