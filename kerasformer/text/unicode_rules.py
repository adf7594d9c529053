"""BERT's text rules as tables: from a code point to its replacement, its place in a word, and its flags.

BERT cleans text code point by code point (Devlin et al. 2018; the rules as the Hugging Face `tokenizers` library
runs them): drop control characters, put space around CJK ideographs, decompose canonically and drop nonspacing
marks, lower-case, split at white space and punctuation. Every rule but the canonical order of marks looks at one code
point alone, so one table lookup replaces them all.

An *entry* is the int32 for one code point after the rules:

    bits 0-20   the code point it becomes
    bits 21-22  word boundaries it brings: 0 inside a word, 1 white space, 2 a word of its own
    bits 23-28  rank in the canonical order: 1 for what starts a new group, more for marks; 0 for control characters,
                which are gone before the order is looked at
    bit  29     KEPT: it is part of a word
    bit  30     RARE: the plain path cannot handle it: it becomes several code points, is a mark that may move in the
                canonical order, or begins a special token
"""

import functools
import pathlib

import numpy as np

RULES_FILE = pathlib.Path(__file__).with_name("unicode_rules.npz")

# Flags of a code point in the rules file.
CONTROL, SPACE, CJK, MARK, PUNCTUATION = 1, 2, 4, 8, 16

CODE_BITS, RANK_SHIFT = 21, 23
CODE_MASK, RANK_MASK = (1 << CODE_BITS) - 1, 63
IN_WORD, WHITE_SPACE, OWN_WORD = 0 << CODE_BITS, 1 << CODE_BITS, 2 << CODE_BITS
STARTER = 1 << RANK_SHIFT
KEPT, RARE = 1 << 29, 1 << 30

BLOCK_BITS = 7
_CODE_POINTS = 0x110000


@functools.cache
def recorded_rules():
    with np.load(RULES_FILE) as file:
        rules = dict(file)
    lengths = np.diff(rules["flag_starts"], append=_CODE_POINTS)
    rules["flags"] = np.repeat(rules["flag_values"], lengths)
    return rules


@functools.lru_cache(maxsize=8)
def character_entries(lowercase, strip_accents, split_cjk):
    """Entries of all code points, and the rows of those that become several.

    Returns:
        entries: int32 `[0x110000]`; of a code point that becomes several, only RARE and the rank are to be read.
        several: int32 `[rows]`, the code points that become several, in order.
        expansions: int32 `[rows, 3]`, the entries they become, filled up with 0.
    """
    rules = recorded_rules()
    flags = rules["flags"]
    is_mark = (flags & MARK > 0) & strip_accents
    ranks = np.ones(_CODE_POINTS, np.int32)
    becomes = np.arange(_CODE_POINTS, dtype=np.int32)
    several, rows = np.zeros(0, np.int32), np.zeros((0, 3), np.int32)
    if strip_accents:
        ranks[rules["marks"]] = 2 + np.unique(rules["combining_classes"], return_inverse=True)[1]
        decomposed, rows = rules["decomposed"], rules["decompositions"]
        ranks[decomposed] = ranks[rows[:, 0]]
        rows = np.where((rows < 0) | is_mark[rows], 0, rows)
        rows = np.take_along_axis(rows, np.argsort(rows == 0, axis=1, kind="stable"), axis=1)[:, :3]
        becomes[decomposed] = rows[:, 0]
        several, rows = decomposed[rows[:, 1] > 0], rows[rows[:, 1] > 0]
    becomes[is_mark] = 0
    if lowercase:
        lower = np.arange(_CODE_POINTS, dtype=np.int32)
        lower[rules["lowered"]] = rules["lowercase"][:, 0]
        becomes, rows = lower[becomes], lower[rows]
        if not strip_accents:  # U+0130 is the only one that becomes two
            two = rules["lowercase"][:, 1] > 0
            several, rows = rules["lowered"][two], np.pad(rules["lowercase"][two], ((0, 0), (0, 1)))

    own_word = np.where(flags & PUNCTUATION, OWN_WORD, IN_WORD).astype(np.int32)
    entries = becomes | own_word[becomes] | (ranks << RANK_SHIFT) | np.where(becomes > 0, KEPT, 0).astype(np.int32)
    if split_cjk:
        entries[flags & CJK > 0] |= OWN_WORD
    entries[(becomes > 0) & (ranks > 1)] |= RARE
    entries[flags & SPACE > 0] = WHITE_SPACE | STARTER
    entries[flags & CONTROL > 0] = 0
    entries[several] = (ranks[several] << RANK_SHIFT) | RARE
    expansions = np.where(rows > 0, rows | own_word[rows] | (ranks[rows] << RANK_SHIFT) | KEPT, 0).astype(np.int32)
    expansions[:, 0] += (ranks[several] - ranks[rows[:, 0]]) << RANK_SHIFT
    return entries, several, expansions


def normalize(text, lowercase, strip_accents):
    """What a text of letters becomes, one code point after another."""
    entries, several, expansions = character_entries(lowercase, strip_accents, False)
    rows = dict(zip(several.tolist(), expansions, strict=True))
    codes = [entry & CODE_MASK for char in text for entry in rows.get(ord(char), [entries[ord(char)]]) if entry & KEPT]
    return "".join(map(chr, codes))


def two_stage(entries):
    """Splits a table over all code points in two small ones.

    Most code points become themselves, so the blocks hold `becomes ^ code` in place of `becomes`: they repeat then.

    Returns:
        offsets: int32 `[0x110000 >> BLOCK_BITS]`, blocks: int32 `[n]`, such that
        `entries[code] == blocks[offsets[code >> BLOCK_BITS] + code] ^ code`, but in the bits 0-20 of what is not KEPT.
    """
    codes = np.arange(_CODE_POINTS, dtype=np.int32)
    grid = np.where(entries & KEPT, entries ^ codes, entries & ~CODE_MASK).reshape(-1, 1 << BLOCK_BITS)
    rows = {}
    numbers = [rows.setdefault(block.tobytes(), len(rows)) for block in grid]
    offsets = (np.array(numbers, np.int32) - np.arange(len(grid), dtype=np.int32)) << BLOCK_BITS
    return offsets, np.frombuffer(b"".join(rows), np.int32)
