"""Writes `character_classes.npz`: the class of each code point in the regular expressions of `tokenizers`.

Run `python -m kerasformer.text.build_character_classes` when the library changes its tables; a test compares the
shipped file with the installed library.
"""

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from kerasformer.text.character_classes import CLASSES_FILE, LETTER, NUMBER, OTHER, SPACE, WORD

_CODE_POINTS = np.array([code for code in range(0x110000) if not 0xD800 <= code < 0xE000])  # no surrogates


def _matched(pattern):
    """The code points that a pattern of one character matches."""
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    kept = split.pre_tokenize_str("".join(map(chr, _CODE_POINTS)))
    return np.array([ord(char) for text, _ in kept for char in text])


def _word_characters():
    """The code points beside which an added token with `single_word` is not found."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, "?"))
    mark = "\ue000"
    tokenizer.add_tokens([AddedToken(mark, single_word=True, normalized=False)])
    text = "".join(f"{chr(code)}{mark} " for code in _CODE_POINTS)
    encoding = tokenizer.encode(text)
    is_word = np.ones(len(_CODE_POINTS), bool)
    for (start, _), token in zip(encoding.offsets, encoding.tokens, strict=True):
        if token == mark:
            is_word[start // 3] = False
    return _CODE_POINTS[is_word]


def reference_classes():
    """What the installed `tokenizers` does, as the arrays of `character_classes.npz`."""
    classes = np.full(0x110000, OTHER, np.uint8)
    for pattern, value in ((r"\p{L}", LETTER), (r"\p{N}", NUMBER), (r"\s", SPACE)):
        classes[_matched(pattern)] = value
    classes[_word_characters()] |= WORD
    starts = np.flatnonzero(np.diff(classes, prepend=classes[0] ^ 0xFF)).astype(np.int32)
    return {"starts": starts, "values": classes[starts]}


if __name__ == "__main__":
    np.savez_compressed(CLASSES_FILE, **reference_classes())
    print(f"{CLASSES_FILE}: {CLASSES_FILE.stat().st_size:,} bytes")
