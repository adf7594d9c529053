"""Learning a SentencePiece model from text."""

import io
import numbers
import re

from kerasformer.errors import InputError
from kerasformer.text.learning import texts_of

_KINDS = ("unigram", "bpe")


def learn_sentencepiece(
    source,
    vocabulary_size,
    *,
    kind="unigram",
    lowercase=False,
    special_tokens=(),
    byte_fallback=True,
    character_coverage=1.0,
    normalization="nmt_nfkc",
    at_most=False,
):
    """Learns the pieces of `SentencePieceTokenizer` with the `sentencepiece` library.

    Ids begin with `<pad>`, `<unk>`, `<s>`, `</s>`, then the special tokens.

    Args:
        source: the path of a text file (`.gz` too) or a list of such paths, a `tf.data.Dataset` of strings (batched
            or not), or an iterable of str.
        vocabulary_size: int, special tokens and the 256 bytes included.
        kind: "unigram" (Kudo 2018, arXiv:1804.10959) or "bpe" (Sennrich et al. 2016, arXiv:1508.07909).
        lowercase: learn from the lower-cased texts; pass the same to the tokenizer.
        special_tokens: list of str that are always pieces by themselves, such as "<2de>".
        byte_fallback: spell characters that are not pieces in bytes, so that no text is unknown.
        character_coverage: share of the characters, by frequency, that become pieces.
        normalization: a rule of the library, "nmt_nfkc", "nfkc" or "identity".
        at_most: learn fewer pieces where the texts do not contain `vocabulary_size`.

    Returns:
        bytes, the serialized model.

    Raises:
        InputError: a file cannot be read, `source` has no words, or has too few for `vocabulary_size`; or an argument
            is out of range.
    """
    if kind not in _KINDS:
        raise InputError(f"`kind` must be one of {list(_KINDS)}. Received: kind={kind!r}.")
    if not isinstance(vocabulary_size, numbers.Integral):
        raise InputError(f"`vocabulary_size` must be an integer. Received: vocabulary_size={vocabulary_size!r}.")
    if len(set(special_tokens)) < len(special_tokens):
        raise InputError(f"`special_tokens` must be different ones. Received: {list(special_tokens)}.")
    if lowercase and any(token != token.lower() for token in special_tokens):
        raise InputError(
            f"`special_tokens` of lower-cased texts must be lower-cased. Received: {list(special_tokens)}."
        )
    texts = [text.lower() if lowercase else text for text in texts_of(source)]
    if not any(text.strip() for text in texts):
        raise InputError("`source` must hold words to learn from. Received: none.")
    settings = {
        "model_type": kind,
        "byte_fallback": byte_fallback,
        "character_coverage": character_coverage,
        "normalization_rule_name": normalization,
        "user_defined_symbols": list(special_tokens),
    }
    try:
        return _train(texts, vocabulary_size, settings)
    except RuntimeError as error:
        told = " ".join(str(error).split())
        limit = re.search(r"value <= (\d+)", told)
        if limit and at_most:
            return _train(texts, int(limit[1]), settings)
        if limit or "vocab" in told.lower():
            hint = f"these texts give at most {limit[1]} pieces" if limit else told
            raise InputError(
                f"`vocabulary_size` must suit the texts. Received: vocabulary_size={vocabulary_size} ({hint})."
            ) from None
        raise InputError(f"sentencepiece cannot learn so: {told}") from None


def _train(texts, vocabulary_size, settings):
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=vocabulary_size,
        **settings,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        # The trainer takes no limit below 10.
        max_sentence_length=max(10, 1 + max(len(text.encode()) for text in texts)),
        # One thread: the same texts then give the same pieces.
        num_threads=1,
        minloglevel=3,
    )
    return model.getvalue()
