r"""Writes `tweet_characters.npz`: `\w` and `\d` of the `regex` package, which splits tweets in the reference.

Run `python -m kerasformer.text.build_tweet_characters` when the package changes its tables; a test compares the shipped
file with the installed package.
"""

import numpy as np
import regex

from kerasformer.text.tweet_words import CHARACTERS_FILE, DIGIT, WORD


def reference_characters():
    """What the installed `regex` does, as the arrays of `tweet_characters.npz`."""
    text = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)  # no surrogates
    classes = np.zeros(0x110000, np.uint8)
    for pattern, value in ((r"\w", WORD), (r"\d", DIGIT)):
        classes[[ord(char) for char in regex.findall(pattern, text)]] = value
    starts = np.flatnonzero(np.diff(classes, prepend=0xFF)).astype(np.int32)
    return {"starts": starts, "values": classes[starts]}


if __name__ == "__main__":
    np.savez_compressed(CHARACTERS_FILE, **reference_characters())
    print(f"{CHARACTERS_FILE}: {CHARACTERS_FILE.stat().st_size:,} bytes")
