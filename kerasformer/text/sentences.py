"""Texts split into sentences inside the graph, with byte offsets, by rules.

A sentence ends at a mark before white space, unless the word before it is an abbreviation, an initial or the number of
a list's item, or what follows goes on in lower case; and without white space at the marks of Chinese and Japanese. A
blank line always ends one.
"""

import tensorflow as tf
import tensorflow_text as tf_text

from kerasformer.text.inputs import as_text_tensor

_SPACE = r"[\s\v\x{85}\p{Z}]"
_OPENING = r"[\"'“‘„«‹(\[{「『（【《〈¿¡]"
_CLOSING = r"[\"'”’»›)\]}」』）】》〉]"
_WIDE_MARK = "[。！？｡]"
_TOKEN_BREAK = f"{_SPACE}+|{_WIDE_MARK}+{_CLOSING}*"
_PARAGRAPH = r"(?s).*(?:\n.*\n|\x{2029}).*"

# What may follow a mark within its word: quotation marks, brackets, and references such as [12].
_AFTER_MARK = rf"{_CLOSING}*(?:\[[0-9,]+\])*"
_MARK = rf"(?s).*[.!?…‥‼⁇⁈⁉।॥؟۔።。！？｡]{_AFTER_MARK}"
_SURE_MARK = rf"(?s).*[।॥؟۔።。！？｡]{_AFTER_MARK}"
_ELLIPSIS = rf"(?s).*(?:\.\.|[…‥]){_AFTER_MARK}"

# A word's own letters may follow a bracket, a dash and the like.
_PREFIX = r"(?s)(?:.*[^\p{L}\p{N}.])?"
# Before a name, or within a sentence by their meaning.
_TITLES = "mrs?|ms|mx|dr|prof|st|mt|gen|col|maj|capt|lt|sgt|adm|rev|hon|pres|gov|sen|mme|mlle|sra|hr"
_PHRASES = r"e\.?g|i\.?e|cf|viz|vs|approx|ca|resp|incl|esp|figs?|eqs?|eqns?|secs?|sect|thm|z\.b|d\.h|u\.a|bzw|ggf|vgl"
_NEVER_LAST = rf"{_PREFIX}(?i:{_TITLES}|{_PHRASES})\.{_CLOSING}*"
# Before a number.
_MONTHS = "jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
_LABEL = rf"{_PREFIX}(?i:{_MONTHS}|nos?|nr|vol|pp?|ch|chap|art|app|refs?|tabs?|prop|def|alg|lem|cor|ver|v)\.{_CLOSING}*"
# At the end of a sentence as well as within: initials, letters with full stops, and some words.
_WORDS = rf"{_MONTHS}|al|etc|inc|ltd|co|corp|jr|sr|ph\.?d|ave|blvd|dept|univ|est|eds?|seq|ibid|nos?|vol"
_AMBIGUOUS = rf"{_PREFIX}(?:\p{{L}}(?:\.\p{{L}})*|(?i:{_WORDS}))\.{_CLOSING}*"
_ITEM = rf"{_OPENING}*(?:\d{{1,3}}|\p{{L}}|[ivxIVX]{{1,4}})\.{_CLOSING}*"

_GOES_ON = rf"(?s)(?:{_OPENING}|[-–—])*[\p{{Ll}},;:.!?%)\]}}…].*"
# 「…！」と言った。 goes on after the quotation.
_QUOTED = rf"(?s).*{_WIDE_MARK}{_CLOSING}+"
_GOES_ON_QUOTING = r"(?s)\p{Hiragana}.*"
_NUMBER = rf"(?s){_OPENING}*\p{{N}}.*"
_CAPITAL = rf"(?s){_OPENING}*[\p{{Lu}}\p{{Lt}}\p{{Lo}}].*"
_STARTER = (
    rf"{_OPENING}*(?:The|This|That|These|Those|There|Then|A|An|In|On|At|As|By|For|From|To|With|Of|It|Its|He|She|They|We|"
    r"You|I|His|Her|Their|Our|My|Your|But|And|Or|So|Yet|If|When|While|After|Before|Because|Since|Although|Though|"
    r"However|Moreover|Furthermore|Thus|Hence|Therefore|Here|Such|Each|Every|All|Both|Many|Most|Some|Several|No|Not|"
    r"What|Who|Why|How|Where|Which|One|Unlike|Despite|Also|Finally|First|Second|Next|Recently|Today|Is|Are|Was|Were|"
    r"Do|Does|Did|Can|Will)(?:['’]\p{L}+)?[,:;\"'”’)]*"
)


def split_sentences(texts):
    """Splits texts into sentences; in the graph, with ops of `tensorflow` and `tensorflow_text`.

    Args:
        texts: strings `[batch]`.

    Returns:
        sentences, starts, ends: `tf.RaggedTensor`s `[batch, (sentences)]`: string, and int32 in bytes, such that a
        sentence is `text[start:end]`, without white space around it (a zero byte becomes a space in `sentences`).
        Between two sentences, and around them, a text has nothing but white space; one of nothing else has none.
    """
    texts = as_text_tensor(texts, "texts")
    # The op that splits takes a zero byte for the string's end.
    texts = tf.strings.regex_replace(texts, r"\x00", " ")
    tokens, starts, ends = tf_text.regex_split_with_offsets(texts, _TOKEN_BREAK, _TOKEN_BREAK)
    rows, all_tokens = tokens.value_rowids(), tokens.values
    is_word = ~tf.strings.regex_full_match(all_tokens, f"{_SPACE}+")
    places = tf.reshape(tf.where(is_word), [-1])
    words, row = tf.gather(all_tokens, places), tf.gather(rows, places)

    # White space before a word in the same text; a word may also stand right after another.
    before = tf.maximum(places - 1, 0)
    has_gap = (places > 0) & ~tf.gather(is_word, before) & (tf.gather(rows, before) == row)
    gaps = tf.where(has_gap, tf.gather(all_tokens, before), "")

    is_first = tf.concat([tf.ones_like(row[:1], tf.bool), row[1:] != row[:-1]], 0)
    is_paragraph = tf.strings.regex_full_match(gaps, _PARAGRAPH)
    # Of each word but the last of all: whether a sentence ends with it, for which it must not be its text's last.
    candidates = tf.reshape(tf.where(tf.strings.regex_full_match(words[:-1], _MARK) & ~is_first[1:]), [-1])
    ends_at = _ends(words, candidates, is_first | is_paragraph)
    begins = is_first | is_paragraph | tf.concat([tf.zeros_like(is_first[:1]), ends_at], 0)

    first_words = tf.reshape(tf.where(begins), [-1])
    splits = tf.concat([first_words, tf.shape(words, tf.int64)], 0)
    pieces = tf.RaggedTensor.from_row_splits(
        tf.strings.join([tf.where(begins, "", gaps), words]), splits, validate=False
    )
    sentences = tf.strings.reduce_join(pieces, axis=1)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(first_words), tf.gather(row, first_words), tokens.nrows())
    starts = tf.gather(starts.values, tf.gather(places, first_words))
    ends = tf.gather(ends.values, tf.gather(places, splits[1:] - 1))
    return tuple(
        tf.RaggedTensor.from_row_lengths(values, counts, validate=False)
        for values in (sentences, tf.cast(starts, tf.int32), tf.cast(ends, tf.int32))
    )


def _ends(words, candidates, begins_anyway):
    """Whether a sentence ends with each word but the last, bool `[words - 1]`, of those at `candidates`."""
    word, following = tf.gather(words, candidates), tf.gather(words, candidates + 1)

    def is_like(strings, pattern):
        return tf.strings.regex_full_match(strings, pattern)

    goes_on = is_like(following, _GOES_ON)
    is_ambiguous = is_like(word, _AMBIGUOUS) & ~is_like(following, _STARTER)
    is_inside = is_like(word, _NEVER_LAST) | (is_like(word, _LABEL) & is_like(following, _NUMBER)) | is_ambiguous
    is_faint = is_like(word, _ELLIPSIS) & ~is_like(following, _CAPITAL)
    sure = is_like(word, _SURE_MARK) & ~(is_like(word, _QUOTED) & is_like(following, _GOES_ON_QUOTING))
    ends = sure | ~(goes_on | is_inside | is_faint | is_like(word, _QUOTED))
    ends_at = tf.tensor_scatter_nd_update(tf.zeros_like(words[:-1] == ""), candidates[:, None], ends)
    # The number of an item begins a sentence, and the item goes on with it.
    begins = begins_anyway | tf.concat([tf.zeros_like(begins_anyway[:1]), ends_at], 0)
    is_item = tf.gather(begins, candidates) & is_like(word, _ITEM) & ~sure
    return ends_at & ~tf.tensor_scatter_nd_update(tf.zeros_like(ends_at), candidates[:, None], is_item)
