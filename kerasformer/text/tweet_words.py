r"""The words of tweets: links, phone numbers, emoticons, user names, hashtags and so on, as TensorFlow ops.

They are those of NLTK's tweet tokenizer (Christopher Potts, `nltk.tokenize.casual`; its links are John Gruber's) in the
form that BERTweet's tokenizer has in transformers: a regular expression that looks around, over `\w` and `\d` of the
`regex` package. To it there are about 40 kinds of characters. So each code point becomes a symbol below 128 for its
kind, and RE2 reads an expression over symbols. RE2 cannot look around, but a symbol can: that of a letter, a digit or a
slash also says whether `@` is before it, and what is after it.
"""

import functools
import pathlib

import numpy as np
import tensorflow as tf

from kerasformer.text.character_classes import CLASS_MASK, SPACE, character_classes
from kerasformer.text.code_point_table import CODE_POINTS, CodePointTable

CHARACTERS_FILE = pathlib.Path(__file__).with_name("tweet_characters.npz")
OTHER, WORD, DIGIT = range(3)

# A kind is named by one of its characters. Letters are what matches `[a-z]` where case makes no difference.
_LETTERS, _DIGITS, _FOREIGN, _FOREIGN_DIGIT = "htpsoda", "0382", "é", "٣"
_VARIED = _LETTERS + _DIGITS + "/"
_PLAIN = _FOREIGN + _FOREIGN_DIGIT + "_ \n@#+-.,:;=<>()[|*'%\"~"  # the last one is all that is no other
_MEMBERS = {
    "0": "01",
    "2": "245679",
    "[": "[]{}",
    "|": "|\\",
    '"': '"!?`«»“”‘’',
    "s": "sSſ",
    "a": "abcefgijklmnqruvwxyzABCEFGIJKLMNQRUVWXYZİ\u212a",  # with the sign of Kelvin
}
_NO_CHARACTER = 127  # a symbol that no word holds
_BEGIN, _END = 0xFE, 0xFF  # bytes around words
# A varied kind has a symbol for each of these things after it, and three more that are behind `@`.
_AFTERWARDS = _OTHER_AFTER, _WORD_AFTER, _AT_AFTER = range(3)
_BEHIND_AT = 3
_NUM_VARIANTS = 6


@functools.cache
def character_kinds():
    """int32 `[0x110000]`: OTHER, WORD or DIGIT, for each code point as `regex` knows `\\w` and `\\d`."""
    with np.load(CHARACTERS_FILE) as file:
        return np.repeat(file["values"], np.diff(file["starts"], append=CODE_POINTS)).astype(np.int32)


def _symbol(kind, variant=0):
    """The symbol of a kind, 1 or more."""
    if kind in _VARIED:
        return 1 + _VARIED.index(kind) * _NUM_VARIANTS + variant
    return 1 + len(_VARIED) * _NUM_VARIANTS + _PLAIN.index(kind)


def _symbols():
    """int32 `[0x110000]`, the first symbol of each code point's kind."""
    kinds = np.full(CODE_POINTS, _symbol("~"), np.int32)
    kinds[character_classes() & CLASS_MASK == SPACE] = _symbol("\n")
    kinds[character_kinds() == WORD] = _symbol(_FOREIGN)
    kinds[character_kinds() == DIGIT] = _symbol(_FOREIGN_DIGIT)
    for kind in (_VARIED + _PLAIN).translate({ord(char): None for char in _FOREIGN + _FOREIGN_DIGIT + "\n~"}):
        for char in _MEMBERS.get(kind, kind + kind.upper()):
            kinds[ord(char)] = _symbol(kind)
    return kinds


def _one_of(kinds, afterwards=_AFTERWARDS, behind=(0, _BEHIND_AT)):
    """A class of RE2: the symbols of kinds, str, where one of `afterwards` is after them."""
    variants = [after + before for after in afterwards for before in behind]
    symbols = [_symbol(kind, variant) for kind in kinds for variant in (variants if kind in _VARIED else (0,))]
    return "[" + "".join(f"\\x{{{symbol:02x}}}" for symbol in symbols) + "]"


def _none_of(kinds):
    return _one_of([kind for kind in _VARIED + _PLAIN if kind not in kinds])


def _sequence(kinds):
    return "".join(map(_one_of, kinds))


def _expression():
    """The regular expression over symbols; the first alternative that matches counts."""
    spaces, word = " \n", _LETTERS + _DIGITS + _FOREIGN + _FOREIGN_DIGIT + "_"
    letter, name = _one_of(_LETTERS), _one_of(_LETTERS + _DIGITS)
    digit, dot, minus = _one_of(_DIGITS + _FOREIGN_DIGIT), _one_of("."), _one_of("-")
    opens, closes, solid, inner = _one_of("("), _one_of(")"), _none_of(spaces), _none_of(spaces + "()")

    nested = f"{opens}{inner}*?{opens}{inner}+{closes}{inner}*?{closes}"
    flat = f"{opens}{solid}+?{closes}"
    slash, scheme = _one_of("/"), f"{_sequence('http')}{_one_of('s')}?{_one_of(':')}"
    protocol = f"{scheme}(?:{slash}{{1,3}}|{_one_of(_LETTERS + _DIGITS + '%')})"
    domain = f"{_one_of(_LETTERS + _DIGITS + '.-')}+{dot}{letter}{{2,13}}{slash}"
    last = _none_of(spaces + "()[<>:;.,'\"")
    link = f"(?:{protocol}|{domain})(?:{_none_of(spaces + '()<>[')}+|{nested}|{flat})+(?:{nested}|{flat}|{last})"
    # Neither behind `@` nor before it, and its last part ends with a word.
    begin = _one_of(_LETTERS + _DIGITS, behind=(0,))
    end = f"{_one_of(_LETTERS, [_OTHER_AFTER])}{_one_of('/', [_OTHER_AFTER, _WORD_AFTER])}?"
    bare_domain = f"{begin}{name}*(?:{_one_of('.-')}{name}+)*{dot}{letter}{{1,12}}{end}"

    filler = _one_of(" *-.)") + "*"
    country = f"(?:{_one_of('+')}?{_one_of('0')}{filler})?"
    area = f"(?:{opens}?{digit}{{3}}{filler})?"
    phone = f"{country}{area}{digit}{{3}}{filler}{digit}{{4}}"

    eyes, nose, mouth, brow = _one_of(":;=8"), _one_of("-o*'"), _one_of("()[dp/:@|"), _one_of("<>")
    emoticon = f"{brow}?{eyes}{nose}?{mouth}|{mouth}{nose}?{eyes}{brow}?|{_sequence('<3')}"
    tag = f"{_one_of('<')}{_none_of(spaces + '>')}+{_one_of('>')}"
    arrow = f"{minus}+{_one_of('>')}|{_one_of('<')}{minus}+"

    part, at = _one_of(word), _one_of("@")
    user = f"{at}{part}+"
    hashtag = f"{_one_of('#')}+{part}+{_one_of(word + chr(39) + '-')}*{part}+"
    label = _one_of(word + "-")
    email = f"{_one_of(word + '.+-')}+{at}{label}+{dot}(?:{label}{dot}?)+{label}"

    sound = _one_of(_LETTERS + _FOREIGN)
    compound = f"{sound}{_one_of(_LETTERS + _FOREIGN + chr(39) + '-_')}+{sound}"
    sign = _one_of("+-")
    number = f"{sign}?{digit}+{_one_of(',/.:-')}{digit}+{sign}?"
    dots = f"{dot}(?:{_one_of(spaces)}*{dot})+"
    kinds = [link, bare_domain, phone, emoticon, tag, arrow, user, hashtag, email, compound, number, f"{part}+", dots]
    return "|".join([*kinds, solid])


class TweetWords:
    """Finds the words of tweets. All but white space is in one, and a few hold white space."""

    def __init__(self):
        symbols = _symbols()
        is_word = (character_kinds() != OTHER).astype(np.int32)
        afterwards = np.where(is_word, _WORD_AFTER, _OTHER_AFTER)
        afterwards[ord("@")] = _AT_AFTER
        is_varied = symbols <= _symbol(_VARIED[-1])
        self._entries = CodePointTable(symbols | is_varied << 7 | afterwards << 8)
        self._expression = _expression()

    def __call__(self, stream):
        """Two bool `[chars]`, code points inside of words and those where a word begins."""
        is_char = stream.codes >= 0
        entries = self._entries(stream.codes)
        afterwards = tf.where(is_char, tf.bitwise.right_shift(entries, 8), _OTHER_AFTER)
        behind = tf.where(tf.equal(stream.codes, ord("@")), _BEHIND_AT, 0)
        variants = tf.concat([afterwards[1:], [_OTHER_AFTER]], 0) + tf.concat([[0], behind[:-1]], 0)
        is_varied = tf.bitwise.bitwise_and(tf.bitwise.right_shift(entries, 7), 1)
        symbols = tf.bitwise.bitwise_and(entries, 127) + is_varied * variants
        text = ascii_text(tf.where(is_char, symbols, _NO_CHARACTER))
        marked = text_bytes(tf.strings.regex_replace(text, self._expression, bytes([_BEGIN]) + rb"\0" + bytes([_END])))
        is_begin = tf.equal(marked, _BEGIN)
        inside = tf.cumsum(tf.cast(is_begin, tf.int32) - tf.cast(tf.equal(marked, _END), tf.int32))
        after_begin = tf.concat([[0], tf.cast(is_begin, tf.int32)], 0)[:-1]
        flags = tf.boolean_mask(inside + 2 * after_begin, marked < 128)
        return flags > 0, flags > 1


def ascii_text(codes):
    """One string `[1]` of all code points, int32 `[chars]` from 1 to 127."""
    splits = tf.stack([0, tf.size(codes, tf.int64)])
    return tf.raw_ops.UnicodeEncode(input_values=codes, input_splits=splits, output_encoding="UTF-8")


def text_bytes(text):
    """int32 `[bytes]` of a string `[1]`."""
    return tf.cast(tf.io.decode_raw(text, tf.uint8)[0], tf.int32)
