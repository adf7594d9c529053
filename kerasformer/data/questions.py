"""Questions on texts that hold the answer, or do not, in memory: SQuAD and data sets of its form."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from kerasformer.data.batching import epoch_order
from kerasformer.data.columns import object_column, whole_characters
from kerasformer.data.sources import read_records
from kerasformer.errors import InputError

NO_ANSWER, NOT_FOUND = -1, -2
OFFSETS = ("repair", "skip", "refuse")


@dataclasses.dataclass(frozen=True, eq=False)
class Questions:
    """Columns of one length N.

    Attributes:
        questions, contexts: `[N]` objects, each a str.
        answers: `[N]` objects, each a tuple of str, all of which are right; empty where the context has no answer.
        starts, ends: int32 `[N]`, the first answer that was found in the context, in bytes of its UTF-8; both -1 where
            there is no answer, -2 where none was found.
        repaired, skipped: locations in the data of answers that were not at their offset: found elsewhere in
            the context, or nowhere (or not looked for).
        source: where they were read.
    """

    questions: np.ndarray
    contexts: np.ndarray
    answers: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    repaired: tuple[str, ...]
    skipped: tuple[str, ...]
    source: str

    @property
    def texts(self):
        """The contexts, by whose length batches may be pooled."""
        return self.contexts

    @property
    def pairs(self):
        """The questions."""
        return self.questions

    @property
    def has_unanswerable(self):
        """Whether there are questions without an answer, as in SQuAD 2.0."""
        return bool((self.starts == NO_ANSWER).any())

    def __len__(self):
        return len(self.questions)

    def select(self, indices) -> "Questions":
        """The questions at `indices` (integers), in that order."""
        indices = np.asarray(indices, np.int64)
        columns = ("questions", "contexts", "answers", "starts", "ends")
        return dataclasses.replace(self, **{name: getattr(self, name)[indices] for name in columns})


def load_questions(source: str | Path, *, offsets="repair") -> Questions:
    """Reads questions with their contexts and answers.

    Args:
        source: what `read_records` takes: SQuAD's JSON (1.1 or 2.0), or records with `question`, `context` and
            `answers`, a list of `{"text", "answer_start"}` or a dict of two such lists, as TFDS's `squad` and Hugging
            Face data sets have it. `answer_start` counts characters. Without it the answers, which may then be strings,
            or one string as `answer`, are looked for in the context, and their first occurrence is taken.
        offsets: what to do with an answer that is not at its offset: "repair" takes its nearest occurrence and
            skips it where there is none; "skip" leaves it out; "refuse" is an error. A skipped answer
            still counts when predictions are scored.

    Raises:
        InputError: the source cannot be read or is empty, a record lacks a field or has one of a wrong type, or its
            answers have no `answer_start` and none of them is in the context.
    """
    if offsets not in OFFSETS:
        raise InputError(f"`offsets` must be one of {list(OFFSETS)}. Received: offsets={offsets!r}.")
    rows, repaired, skipped = [], [], []
    for record, place_of_record in read_records(source):
        for context, question, where in _questions_of(record, place_of_record):
            answers = [] if question.get("is_impossible") is True else _answers(question, where)
            place = NO_ANSWER if not answers else NOT_FOUND
            end = place
            for text, start in answers:
                if start is None:
                    found = start = _first(context, text)
                else:
                    found = _find(context, text, start, offsets) if text else None
                if found != start:
                    if offsets == "refuse":
                        raise InputError(f"{where}: the answer {text[:40]!r} does not stand at {start} of its context.")
                    (skipped if found is None else repaired).append(where)
                if found is not None and place == NOT_FOUND:
                    place = len(context[:found].encode())
                    end = place + len(text.encode())
            texts = tuple(text for text, _ in answers if text)
            if place == NOT_FOUND and all(start is None for _, start in answers):
                raise InputError(
                    f"{where}: the answer must be in the context, or have an answer_start. Received {texts[0][:40]!r}."
                )
            rows.append((_text(question, "question", where), context, texts, place, end))
    if not rows:
        raise InputError(f"{source}: expected at least one question. Received an empty data set.")
    questions, contexts, answers, starts, ends = zip(*rows, strict=True)
    return Questions(
        *map(object_column, (questions, contexts, answers)),
        np.array(starts, np.int32),
        np.array(ends, np.int32),
        tuple(repaired),
        tuple(skipped),
        str(source),
    )


def question_batches(questions, batch_size, *, shuffle_seed=None, epoch=0, skip_batches=0, length_pool=0):
    """One epoch of `questions` as `(features, targets)`.

    Features are `{"question": [batch], "context": [batch]}`; targets int32 `start` and `end` `[batch]` (see
    `Questions`), `answers` string `[batch, most answers]`, padded with "", and `num_answers` int32 `[batch]`.

    Args:
        questions: what `load_questions` returns.
        batch_size, shuffle_seed, epoch, skip_batches, length_pool: as in `batches`.
    """
    order = epoch_order(questions, batch_size, shuffle_seed=shuffle_seed, epoch=epoch, length_pool=length_pool)
    chosen = questions.select(order[skip_batches * batch_size :])
    count = len(chosen)
    lengths = np.fromiter((len(texts) for texts in chosen.answers), np.int32, count)
    flat = [text for texts in chosen.answers for text in texts]
    answers = tf.RaggedTensor.from_row_lengths(tf.constant(flat, tf.string, shape=[len(flat)]), lengths)
    features = {
        "question": tf.constant(chosen.questions, tf.string, shape=[count]),
        "context": tf.constant(chosen.contexts, tf.string, shape=[count]),
    }
    targets = {"start": chosen.starts, "end": chosen.ends, "answers": answers, "num_answers": lengths}

    def padded(features, targets):
        return features, {**targets, "answers": targets["answers"].to_tensor("")}

    return tf.data.Dataset.from_tensor_slices((features, targets)).batch(batch_size).map(padded)


def _questions_of(record, where):
    """Yields `(context, question, where)` of a record, an article of SQuAD or a question with its context."""
    if "paragraphs" not in record:
        yield _text(record, "context", where), record, _named(record, where)
        return
    for paragraph in _list(record, "paragraphs", where):
        context = _text(paragraph, "context", where)
        for question in _list(paragraph, "qas", where):
            if not isinstance(question, dict):
                raise InputError(f"{where}: expected a question with named fields. Received {str(question)[:40]!r}.")
            yield context, question, _named(question, where)


def _named(question, where):
    return f"{where}, question {question['id']}" if "id" in question else where


def _answers(question, where):
    """`(text, start in characters)` of each answer, without white space around it."""
    answers = question["answer"] if "answers" not in question and "answer" in question else question.get("answers")
    try:
        if isinstance(answers, dict):
            texts = answers["text"]
            starts = answers.get("answer_start", [None] * len(texts))
        else:
            answers = [answers] if isinstance(answers, str) else answers
            rows = [{"text": answer} if isinstance(answer, str) else answer for answer in answers]
            texts, starts = [row["text"] for row in rows], [row.get("answer_start") for row in rows]
        stripped = []
        for text, start in zip(texts, starts, strict=True):
            if not isinstance(text, str) or isinstance(start, bool) or not isinstance(start, int | None):
                raise TypeError
            if start is not None:
                start += len(text) - len(text.lstrip())
            stripped.append((text.strip(), start))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"{where}: expected answers with text and answer_start, an integer. Received {str(answers)[:60]}."
        ) from None
    # An empty one nowhere is how some say that there is none; a blank one somewhere is a mistake.
    return [
        (whole_characters(text, where, "an answer"), start)
        for text, start in stripped
        if text or (start is not None and start >= 0)
    ]


def _first(context, text):
    """Where `text` first is in `context`, in characters, at borders of words if it is; None where it is not."""
    whole = re.search(rf"(?<!\w){re.escape(text)}(?!\w)", context)
    place = whole.start() if whole else context.find(text)
    return None if place < 0 else place


def _find(context, text, start, offsets):
    """Where `text` is in `context`, in characters: at `start`, else nearest by it; None where it does not."""
    if start >= 0 and context.startswith(text, start):
        return start
    if offsets != "repair":
        return None
    before, after = context.rfind(text, 0, max(start, 0) + len(text)), context.find(text, max(start, 0))
    places = [place for place in (before, after) if place >= 0]
    return min(places, key=lambda place: abs(place - start)) if places else None


def _text(record, field, where):
    text = record.get(field) if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise InputError(f"{where}: expected a string in the field {field!r}. Received {str(text)[:40]!r}.")
    return whole_characters(text, where, repr(field))


def _list(record, field, where):
    values = record.get(field) if isinstance(record, dict) else None
    if not isinstance(values, list):
        raise InputError(f"{where}: expected a list in the field {field!r}. Received {str(values)[:40]!r}.")
    return values
