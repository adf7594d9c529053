"""Learning a SentencePiece model from text."""

import io
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
):
    """Learns the pieces of `SentencePieceTokenizer` with the `sentencepiece` library.

    Ids begin with `<pad>`, `<unk>`, `<s>`, `</s>`, then the special tokens.

    Args:
        source: the path of a text file (`.gz` too) or a list of such paths, a `tf.data.Dataset` of strings (batched
            or not), or an iterable of str.
        vocabulary_size: int, special tokens and the 256 bytes included.
        kind: "unigram" (Kudo 2018, arXiv:1804.10959) or "bpe" (Sennrich et al. 2016, arXiv:1508.07909).
        lowercase: learn from the lower-cased texts; give the tokenizer the same.
        special_tokens: list of str that are pieces by themselves wherever they stand, such as "<2de>".
        byte_fallback: spell characters that are no pieces in bytes, so that no text is unknown.
        character_coverage: share of the characters, by frequency, that become pieces.
        normalization: a rule of the library, "nmt_nfkc", "nfkc" or "identity".

    Returns:
        bytes, the serialized model.

    Raises:
        InputError: a file cannot be read, `source` has no words, or has too few for `vocabulary_size`.
    """
    import sentencepiece

    if kind not in _KINDS:
        raise InputError(f"`kind` must be one of {list(_KINDS)}. Received: kind={kind!r}.")
    texts = [text.lower() if lowercase else text for text in texts_of(source)]
    if not any(text.strip() for text in texts):
        raise InputError("`source` must hold words to learn from. Received: none.")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=vocabulary_size,
            model_type=kind,
            byte_fallback=byte_fallback,
            character_coverage=character_coverage,
            normalization_rule_name=normalization,
            user_defined_symbols=list(special_tokens),
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
    except RuntimeError as error:
        limit = re.search(r"value <= (\d+)", str(error))
        hint = f"these texts give at most {limit[1]} pieces" if limit else " ".join(str(error).split())
        raise InputError(
            f"`vocabulary_size` must suit the texts. Received: vocabulary_size={vocabulary_size} ({hint})."
        ) from None
    return model.getvalue()
