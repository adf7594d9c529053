"""Special tokens around one or two sequences, as the post-processors of `tokenizer.json` put them."""

import dataclasses

import tensorflow as tf

from kerasformer.errors import InputError


@dataclasses.dataclass(frozen=True)
class Part:
    """One special token, or a whole sequence.

    token_id: int, or None for a sequence.
    sequence: int, 0 or 1, the sequence at this position; None for a token.
    segment: int, the segment id of its positions.
    """

    token_id: int | None = None
    sequence: int | None = None
    segment: int = 0


@dataclasses.dataclass(frozen=True)
class Templates:
    """What is made of one sequence, and of two.

    single, pair: tuples of Part.
    """

    single: tuple
    pair: tuple

    def of(self, num_sequences):
        parts = self.single if num_sequences == 1 else self.pair
        found = sorted(part.sequence for part in parts if part.sequence is not None)
        if found != [*range(num_sequences)]:
            raise InputError(
                f"The template of {num_sequences} sequences must hold each once. Received: {found}, from 0 on."
            )
        return parts

    def num_special(self, num_sequences):
        """int, how many special tokens are added."""
        return sum(part.token_id is not None for part in self.of(num_sequences))

    def num_before(self, num_sequences):
        """int, how many special tokens come before the last sequence."""
        parts = self.of(num_sequences)
        last = max(place for place, part in enumerate(parts) if part.sequence == num_sequences - 1)
        return sum(part.token_id is not None for part in parts[:last])


def bert_templates(start_id, end_id):
    """`[CLS] A [SEP]` and `[CLS] A [SEP] B [SEP]`, B and its end in segment 1."""
    single = (Part(start_id), Part(sequence=0), Part(end_id))
    return Templates(single, (*single, Part(sequence=1, segment=1), Part(end_id, segment=1)))


def roberta_templates(start_id, end_id):
    """`<s> A </s>` and `<s> A </s></s> B </s>`, all of it in segment 0."""
    single = (Part(start_id), Part(sequence=0), Part(end_id))
    return Templates(single, (*single, Part(end_id), Part(sequence=1), Part(end_id)))


def read_templates(processor, ids, where):
    """Templates of the post-processor in a `tokenizer.json`.

    Args:
        processor: dict or None.
        ids: dict from str to int, the vocabulary.
        where: str, what a message calls the file.

    Raises:
        InputError: a post-processor that is not known, or one whose tokens are not in the vocabulary.
    """
    kind = processor["type"] if processor else "ByteLevel"
    if kind == "Sequence":
        several = [part for part in processor["processors"] if part["type"] != "ByteLevel"]
        if len(several) > 1:
            names = ", ".join(part["type"] for part in several)
            raise InputError(f"{where} must hold one post-processor that adds tokens. Received: {names}.")
        return read_templates(several[0] if several else None, ids, where)
    if kind == "ByteLevel":
        return Templates((Part(sequence=0),), (Part(sequence=0), Part(sequence=1, segment=1)))
    if kind in ("BertProcessing", "RobertaProcessing"):
        make = bert_templates if kind == "BertProcessing" else roberta_templates
        return make(processor["cls"][1], processor["sep"][1])
    if kind != "TemplateProcessing":
        raise InputError(f"{where} must hold a post-processor that is known. Received: {kind}.")

    def parts(template):
        for part in template:
            ((kind, value),) = part.items()
            if kind == "Sequence":
                yield Part(sequence="AB".index(value["id"]), segment=value["type_id"])
            else:
                special = processor["special_tokens"].get(value["id"], {"ids": [ids.get(value["id"])]})
                if None in special["ids"]:
                    raise InputError(f"{where} must add tokens of its vocabulary. Received: {value['id']!r}.")
                for token_id in special["ids"]:
                    yield Part(token_id, segment=value["type_id"])

    pair = processor.get("pair") or [*processor["single"], {"Sequence": {"id": "B", "type_id": 1}}]
    return Templates(tuple(parts(processor["single"])), tuple(parts(pair)))


def model_inputs(ids, sequences, templates, padding_id):
    """Rows of one or two sequences with special tokens, padded to the longest row.

    Args:
        ids: int32 `[pieces]`
        sequences: for each of the one or two sequences its first piece and its number of pieces, int32 `[batch]`.
        templates: Templates.
        padding_id: int.

    Returns:
        dict of int32 `[batch, length]`: `token_ids`, `segment_ids` and `padding_mask` (1 for tokens).
    """
    ids = tf.concat([ids, [padding_id]], 0)  # so that there is always something to gather
    parts, stops, stop = templates.of(len(sequences)), [], tf.zeros([1], tf.int32)
    for part in parts:
        stop = stop + (1 if part.sequence is None else sequences[part.sequence][1])
        stops.append(stop[:, None])
    # An empty batch has no longest row.
    length = tf.maximum(tf.reduce_max(stop), templates.num_special(len(sequences)))
    positions = tf.range(length)[None, :]
    token_ids, segment_ids, segment = padding_id, 0, 0
    for part, stop in reversed(list(zip(parts, stops, strict=True))):
        is_before = positions < stop
        if part.sequence is None:
            pieces = part.token_id
        else:
            first, count = sequences[part.sequence]
            places = (first + count)[:, None] - stop + positions
            pieces = tf.gather(ids, tf.clip_by_value(places, 0, tf.size(ids) - 1))
        token_ids = tf.where(is_before, pieces, token_ids)
        if part.segment != segment:
            segment = part.segment
            segment_ids = tf.where(is_before, segment, segment_ids)
    is_token = positions < stops[-1]
    return {
        "token_ids": token_ids,
        "segment_ids": segment_ids if tf.is_tensor(segment_ids) else tf.zeros_like(token_ids),
        "padding_mask": tf.cast(is_token, tf.int32),
    }
