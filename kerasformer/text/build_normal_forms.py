"""Writes `normal_forms.npz`: what `tokenizers` does to each code point, beside `unicode_rules.npz`.

Run `python -m kerasformer.text.build_normal_forms` when the library changes its tables; a test compares the shipped
file with the installed library.
"""

import numpy as np
from tokenizers import normalizers, pre_tokenizers

from kerasformer.text.normal_forms import FORMS_FILE
from kerasformer.text.unicode_rules import recorded_rules

_CODE_POINTS = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]  # surrogates are no characters


def reference_forms():
    """What the installed `tokenizers` does, as the arrays of `normal_forms.npz`."""
    compatible, canonical = normalizers.NFKD().normalize_str, normalizers.NFD().normalize_str
    composed, strip = normalizers.NFC().normalize_str, normalizers.StripAccents().normalize_str
    changed = [code for code in _CODE_POINTS if compatible(chr(code)) != canonical(chr(code))]
    rows = [compatible(chr(code)) for code in changed]
    accents = np.zeros(0x110000, bool)
    accents[[code for code in _CODE_POINTS if not strip(chr(code))]] = True
    digits = pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str
    numeric = np.zeros(0x110000, bool)
    numeric[[code for code in _CODE_POINTS if len(digits(f"a{chr(code)}b")) == 3]] = True
    return {
        "compatible": np.array(changed, np.int32),
        "compatible_lengths": np.array([len(row) for row in rows], np.uint8),
        "compatible_codes": np.array([ord(char) for row in rows for char in row], np.int32),
        "not_composed": np.array(
            [code for code in recorded_rules()["decomposed"].tolist() if composed(chr(code)) != chr(code)], np.int32
        ),
        "accent_starts": _starts(accents),
        "numeric_starts": _starts(numeric),
    }


def _starts(flags):
    """Where runs of equal flags begin, the first of them false."""
    return np.flatnonzero(np.diff(flags, prepend=True)).astype(np.int32)


if __name__ == "__main__":
    np.savez_compressed(FORMS_FILE, **reference_forms())
    print(f"{FORMS_FILE}: {FORMS_FILE.stat().st_size:,} bytes")
