"""Writes `graphemes.npz`: how code points join in graphemes, as the `tokenizers` library sees it.

    python -m kerasformer.text.build_graphemes

The library shows its graphemes only through the normalizer `Precompiled`, which replaces a grapheme of less than 6
bytes as a whole if it begins with a key of its map. So small maps, made by `sentencepiece`, ask about each code point.
"""

import io
import tempfile
import unicodedata

import numpy as np
import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2

from kerasformer.text import graphemes as kinds

_MARK, _ZWJ, _KA, _VIRAMA = "\u0301", "\u200d", "\u0915", "\u094d"


def _normalizer(keys):
    """The normalizer that makes "x" of each key."""
    model = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write("".join(f"{ord(key):X}\t78\n" for key in keys))
        rules.flush()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c d e f g h"]),
            model_writer=model,
            vocab_size=20,
            hard_vocab_limit=False,
            normalization_rule_tsv=rules.name,
            minloglevel=2,
        )
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    return tokenizers.normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)


def main():
    chars = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    flags = np.zeros(0x110000, np.uint8)

    def mark(flag, keys, question, is_yes, candidates):
        normalizer = _normalizer(keys)
        for char in candidates:
            if is_yes(normalizer.normalize_str(question(char))):
                flags[ord(char)] |= flag

    mark(kinds.JOINS, "a", lambda c: f"a{c}", lambda text: text == "x", chars)
    mark(kinds.PREPENDS, "a", lambda c: f"{c}a{_MARK}", lambda text: text.endswith(_MARK), chars)
    mark(kinds.PICTURE, "\u00a9", lambda c: f"\u00a9{_ZWJ}{c}", lambda text: _ZWJ in text[:2], chars)
    flags[(flags & kinds.JOINS) > 0] &= ~np.uint8(kinds.PICTURE)
    # What follows has to be in less than 6 bytes with a mark of 2.
    low = [char for char in chars if 0 < ord(char) < 0x10000]
    controls = [c for c in low if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cn")]
    mark(kinds.CONTROL, controls, lambda c: f"{c}{_MARK}", lambda text: text.endswith(_MARK), controls)
    flags[0] |= kinds.CONTROL
    marks = [char for char in chars if flags[ord(char)] & kinds.JOINS]
    letters = [c for c in low if unicodedata.category(c) == "Lo" and not 0x2000 <= ord(c) < 0xA800]
    mark(kinds.CONSONANT, letters, lambda c: f"{_KA}{_VIRAMA}{c}{_MARK}", lambda text: text.endswith(_MARK), letters)
    mark(kinds.LINKER, _KA, lambda c: f"{_KA}{c}{_KA}{_MARK}", lambda text: text.endswith(_MARK), marks)
    mark(kinds.EXTENDER, _KA, lambda c: f"{_KA}{_VIRAMA}{c}{_KA}{_MARK}", lambda text: text.endswith(_MARK), marks)
    starts = np.flatnonzero(np.append(True, flags[1:] != flags[:-1])).astype(np.int32)
    np.savez_compressed(kinds.FLAGS_FILE, starts=starts, values=flags[starts])
    for name in ("JOINS", "PREPENDS", "PICTURE", "CONTROL", "CONSONANT", "LINKER", "EXTENDER"):
        print(name, int((flags & getattr(kinds, name) > 0).sum()))


if __name__ == "__main__":
    main()
