"""Writes `unicode_rules.npz`: what BERT's reference tokenizer does to each Unicode code point.

The rules are asked of the `tokenizers` library itself, code point by code point, and not taken from Python's
`unicodedata`: the two follow different versions of Unicode. Run `python -m kerasformer.text.build_unicode_rules`
when the library changes its tables; a test compares the shipped file with the installed library.
"""

import unicodedata

import numpy as np
from tokenizers import normalizers, pre_tokenizers

from kerasformer.text.unicode_rules import CJK, CONTROL, MARK, PUNCTUATION, RULES_FILE, SPACE

_CODE_POINTS = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]  # surrogates are no characters


def _bert(**settings):
    names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    return normalizers.BertNormalizer(**{name: settings.get(name, False) for name in names}).normalize_str


def _flags():
    """One byte a code point: dropped, white space, CJK, nonspacing mark, punctuation."""
    clean, cjk, strip = _bert(clean_text=True), _bert(handle_chinese_chars=True), _bert(strip_accents=True)
    decompose, split = normalizers.NFD().normalize_str, pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    flags = np.zeros(0x110000, np.uint8)
    for code in _CODE_POINTS:
        char = chr(code)
        between = f"a{char}b"
        cleaned = clean(between)
        if cleaned == "ab":
            flags[code] |= CONTROL
        elif cleaned == "a b":
            flags[code] |= SPACE
        if cjk(char) == f" {char} ":
            flags[code] |= CJK
        if decompose(char) == char and strip(char) == "":
            flags[code] |= MARK
        if len(split(between)) == 3:
            flags[code] |= PUNCTUATION
    return flags


def _changes(function):
    """The code points that `function` changes, with what they become, each a row filled up with -1."""
    changed = [(code, function(chr(code))) for code in _CODE_POINTS]
    changed = [(code, text) for code, text in changed if text != chr(code)]
    rows = np.full((len(changed), max(len(text) for _, text in changed)), -1, np.int32)
    for row, (_, text) in zip(rows, changed, strict=True):
        row[: len(text)] = [ord(char) for char in text]
    return np.array([code for code, _ in changed], np.int32), rows


def _combining_classes():
    """Canonical combining classes other than 0, found by what the reference's NFD puts in front of what."""
    decompose = normalizers.NFD().normalize_str
    lowest, highest = "\u0334", "\u0345"  # of class 1 and 240
    marks = []
    for char in map(chr, _CODE_POINTS):
        moves = decompose(highest + char) == char + highest or decompose(char + lowest) == lowest + char
        if moves or char == lowest:
            marks.append(char)
    # One mark of each class. Marks of the first versions of Unicode come last and win: their classes are settled.
    settled = unicodedata.ucd_3_2_0
    example = {unicodedata.combining(mark): mark for mark in sorted(marks, key=settled.combining)}
    example.pop(0, None)  # a mark that Python's tables don't know
    classes = [
        max(rank for rank, other in example.items() if decompose(other + mark) == other + mark) for mark in marks
    ]
    codes = [ord(mark) for mark in marks]
    return np.array(codes, np.int32), np.array(classes, np.uint8)


def reference_rules():
    """What the installed `tokenizers` does, as the arrays of `unicode_rules.npz`."""
    flags = _flags()
    starts = np.flatnonzero(np.diff(flags, prepend=flags[0] ^ 0xFF)).astype(np.int32)
    decomposed, decompositions = _changes(normalizers.NFD().normalize_str)
    lowered, lowercase = _changes(_bert(lowercase=True))
    marks, classes = _combining_classes()
    return {
        "flag_starts": starts,
        "flag_values": flags[starts],
        "decomposed": decomposed,
        "decompositions": decompositions,
        "lowered": lowered,
        "lowercase": lowercase,
        "marks": marks,
        "combining_classes": classes,
    }


if __name__ == "__main__":
    np.savez_compressed(RULES_FILE, **reference_rules())
    print(f"{RULES_FILE}: {RULES_FILE.stat().st_size:,} bytes")
