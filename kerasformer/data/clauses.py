"""Clauses of English sentences: a subject, its verb and what stands around them, by patterns of parts of speech."""

import itertools
import re
from typing import NamedTuple

_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_TIME = re.compile(
    rf"\b(?:(?:\d{{1,2}} )?{_MONTH} (?:\d{{1,2}}\b(?: ?,? ?[12]\d{{3}}\b)?|[12]\d{{3}}\b)|(?:1\d|20)\d\ds?\b)(?!-)"
)
# With accents that stand after their letter, as characters of their own.
_LETTER = r"\w[\u0300-\u036f]*"
_WORD = re.compile(
    rf"(?:[^\W\d_]\.){{2,}}|[A-Z]\.(?= [A-Z])|['’]s\b"
    rf"|(?:{_LETTER})+(?:[.,]\d+)*(?:[-'’](?!s\b)(?:{_LETTER})+)*|[^\w\s\"'`‘’“”«»]"
)
# One letter for each word, so that patterns over words are patterns over letters: D determiner, J adjective, C number,
# N noun, P name, S possessive, V finite verb, M modal, B base form, G present and E past participle (or a past tense,
# which looks alike), A adverb, I preposition, R pronoun, K conjunction, W a word that begins a clause, t of a time.
_LETTERS = {
    **dict.fromkeys(("DT", "PDT", "PRP$"), "D"),
    **dict.fromkeys(("JJ", "JJR", "JJS"), "J"),
    **dict.fromkeys(("NN", "NNS"), "N"),
    **dict.fromkeys(("NNP", "NNPS"), "P"),
    **dict.fromkeys(("VBD", "VBZ", "VBP"), "V"),
    **dict.fromkeys(("RB", "RBR", "RBS", "RP"), "A"),
    **dict.fromkeys(("IN", "TO"), "I"),
    **dict.fromkeys(("WDT", "WP", "WP$", "WRB"), "W"),
    "CD": "C",
    "MD": "M",
    "VB": "B",
    "VBG": "G",
    "VBN": "E",
    "PRP": "R",
    "CC": "K",
    "POS": "S",
}
_BY_WORD = {
    **dict.fromkeys(("is", "was", "are", "were", "has", "had", "have"), "V"),
    **dict.fromkeys(("be", "been"), "E"),
    **dict.fromkeys(("that", "because", "while", "if", "although", "though", "when", "where", "since", "until"), "W"),
    **dict.fromkeys(("unless", "whether", "whereas", "than"), "W"),
    **dict.fromkeys(("'s", "’s"), "S"),
    **dict.fromkeys(("$", "£", "€", "¥"), "$"),
    **dict.fromkeys(("%", "percent"), "%"),
    "&": "P",
}
_UNIT = re.compile(
    r"(?P<time>t+)"
    r"|(?P<phrase>(?:D+A?[CJ]*[EG](?=[CJNPS])|D*A(?=J)|D*)[CJNPS%]*[NP]|D?[$C][C%]*)"
    r"|(?P<verb>M?A*[MV]A*(?:[VEGB]A*)*|A*EA*)"
    r"|.",
    re.DOTALL,
)
_NAMED = ("phrase", "time")
_MOST_WORDS, _LONGEST_SUBJECT = 70, 12


class Unit(NamedTuple):
    """Words that stand together.

    kind: "phrase" of a noun, "time", "verb", or the letter of a single word.
    start, end: of its words in the sentence.
    """

    kind: str
    start: int
    end: int


class Clause(NamedTuple):
    """A subject and what is said of it.

    subject: words; those of the topic in the place of a pronoun.
    place: Unit of the subject; None where it is the topic's.
    verb: Unit.
    before, after: Units, of an adverbial before the subject (or none) and of what follows the verb.
    """

    subject: list
    place: Unit | None
    verb: Unit
    before: list
    after: list


class Sentence:
    """An English sentence in units.

    Args:
        text: str.

    Attributes:
        words, starts, ends: each word and where it stands in the text, in characters.
        letters: str, of the words' classes.
        units: list of Unit.
    """

    def __init__(self, text):
        self.text = text
        found = list(itertools.islice(_WORD.finditer(text), _MOST_WORDS + 1))
        self.words = [match.group() for match in found]
        self.starts, self.ends = [match.start() for match in found], [match.end() for match in found]
        self.letters, self.units = "", []
        if not 0 < len(found) <= _MOST_WORDS:
            # Nothing, or a table.
            return
        letters = _letters(self.words)
        for match in _TIME.finditer(text):
            for place, (start, end) in enumerate(zip(self.starts, self.ends, strict=True)):
                if match.start() <= start and end <= match.end():
                    letters[place] = "t"
        self.letters = "".join(letters)
        self.units = [
            Unit(match.lastgroup or match.group(), match.start(), match.end()) for match in _UNIT.finditer(self.letters)
        ]

    def cut(self, start, end):
        """The text from word `start` to word `end`, and its places."""
        return self.text[self.starts[start] : self.ends[end - 1]], self.starts[start], self.ends[end - 1]

    def words_of(self, units):
        """The words from the first of the units to the last."""
        return self.words[units[0].start : units[-1].end] if units else []

    def topic(self):
        """Words of the first noun phrase, of which a text that begins with the sentence mostly tells, or None."""
        first = next((unit for unit in self.units if unit.kind == "phrase"), None)
        return first and self._subject_words(first)

    def _subject_words(self, unit):
        words = self.words_of([unit])
        if unit.start == 0 and self.letters[0] == "D":
            words[0] = words[0].lower()
        return words

    def clauses(self, topic=None):
        """A Clause for each verb with a subject; `topic`: words that "it", "he", "she" and "they" stand for."""
        found = []
        for place, unit in enumerate(self.units):
            if unit.kind != "verb" or self._kind(place + 1) == "verb":
                continue
            subject = self._subject(place, topic)
            if subject is not None:
                words, span, first = subject
                end = self._end_of_clause(place + 1)
                found.append(Clause(words, span, unit, self._adverbial(first), self.units[place + 1 : end]))
        return found

    def _kind(self, place):
        return self.units[place].kind if 0 <= place < len(self.units) else ""

    def _subject(self, verb, topic):
        """Words of the subject of a verb, their Unit (or None) and the place of the first unit of it."""
        place = verb - 1
        if self._kind(place) in (")", ","):
            # An insertion: "Visby, a town on Gotland, is".
            opening = {")": "(", ",": ","}[self._kind(place)]
            place = next((at for at in range(place - 1, 0, -1) if self._kind(at) in (opening, ";")), 0) - 1
            if self._kind(place + 1) != opening:
                return None
        word = self.words[self.units[place].start].lower() if place >= 0 else ""
        if self._kind(place) == "R":
            is_known = topic and word in ("it", "he", "she", "they") and self._kind(place - 1) != "I"
            return (topic, None, place) if is_known else None
        is_relative = self._kind(place) == "W" and word in ("which", "who", "that")
        if is_relative:
            place -= 2 if self._kind(place - 1) == "," else 1
        if self._kind(place) != "phrase":
            return None
        first = place
        while not is_relative and self._kind(first - 1) == "I":
            first -= 2
            if self._kind(first) != "phrase":
                return None
        span = Unit("phrase", self.units[first].start, self.units[place].end)
        return None if span.end - span.start > _LONGEST_SUBJECT else (self._subject_words(span), span, first)

    def _end_of_clause(self, place):
        """Where what follows a verb ends: before another clause, or after a comma that begins no list."""
        while place < len(self.units):
            kind, last = self._kind(place), self._kind(place - 1)
            if kind in (";", "W", "verb"):
                break
            is_list = last in _NAMED and self._kind(place + 1) in (*_NAMED, "I") and self._kind(place + 2) != "verb"
            if kind == "," and not is_list:
                break
            place += 1
        # "and" before the next verb is none of the clause.
        return place - 1 if self._kind(place - 1) == "K" else place

    def _adverbial(self, subject):
        """Units of "In 1874 ," before a subject at that place."""
        if self._kind(subject - 1) != ",":
            return []
        first = subject - 1
        while self._kind(first - 1) in (*_NAMED, "I"):
            first -= 1
        is_whole = first < subject - 1 and self._kind(first) == "I" and self._kind(first - 1) in ("", ";", ",", "K")
        return self.units[first : subject - 1] if is_whole else []


def do_support(verb):
    """The form of "do" that asks with a verb, and the verb's base form: "published" gives `("did", "publish")`.

    Base forms of regular verbs are told by their ending and a lexicon, of the commonest others by a table.
    """
    verb = verb.lower()
    if verb in _IRREGULAR:
        return "did", _IRREGULAR[verb]
    if verb.endswith("ed"):
        # Of "stopped", "passed" and "used".
        is_doubled = verb[-4:-3] == verb[-3:-2]
        return "did", _known(verb[:-2], *([verb[:-3]] if is_doubled else []), verb[:-1])
    if verb.endswith("s") and not verb.endswith(("ss", "us", "is")):
        return "does", _known(*([verb[:-2]] if verb.endswith("ies") else []), verb[:-1], verb[:-2])
    return "do", verb


def _known(*stems):
    """The first of the stems that can be a verb, else the first; an "i" at the end stands for "y"."""
    stems = [re.sub("i$", "y", stem) for stem in stems]
    return next((stem for stem in stems if _lexicon().get(stem) in ("VB", "VBP", "NN", "JJ")), stems[0])


def _letters(words):
    """The letter of each word, in a list."""
    # Here and below, since what it imports would make each start of kerasformer slower.
    from textblob.taggers import PatternTagger

    tagged = PatternTagger().tag(" ".join(words), tokenize=False)
    return [_letter(word, tag, place) for place, (word, (_, tag)) in enumerate(zip(words, tagged, strict=True))]


def _letter(word, tag, place):
    low = word.lower()
    if low in _BY_WORD:
        return _BY_WORD[low]
    if word == "-":
        # Of a word with a hyphen that stands apart, as in tokenized texts.
        return "J"
    if not re.match(r"\w", word):
        return word if word in ",()" else ";"
    letter = _LETTERS.get(tag, "o")
    if letter == "N" and low.endswith("ed") and _lexicon().get(low, "VBN") in ("VBN", "VBD"):
        return "E"
    if letter in "NJP":
        is_name = word[0].isupper() and (place > 0 or letter == "P")
        return "P" if is_name else "N" if letter == "P" else letter
    return letter


def _lexicon():
    from textblob.en import lexicon

    return lexicon


# Past tenses and their base forms.
_IRREGULAR = dict(
    re.findall(
        r"(\w+) (\w+)",
        "ate eat; became become; began begin; blew blow; bore bear; bought buy; bound bind; broke break; brought "
        "bring; built build; came come; cast cast; caught catch; chose choose; cost cost; cut cut; dealt deal; drank "
        "drink; drew draw; drove drive; fed feed; fell fall; felt feel; fled flee; flew fly; forgot forget; fought "
        "fight; found find; froze freeze; gave give; got get; grew grow; held hold; hid hide; hit hit; hung hang; "
        "kept keep; knew know; laid lay; lay lie; led lead; left leave; let let; lost lose; made make; meant mean; "
        "met meet; overcame overcome; paid pay; put put; ran run; rode ride; rose rise; said say; sang sing; sat sit; "
        "saw see; sent send; set set; shook shake; shot shoot; shut shut; slept sleep; sold sell; sought seek; spent "
        "spend; spoke speak; spread spread; stole steal; stood stand; struck strike; swam swim; swept sweep; swore "
        "swear; taught teach; thought think; threw throw; told tell; took take; tore tear; understood understand; "
        "underwent undergo; went go; withdrew withdraw; woke wake; won win; wore wear; wrote write",
    )
)
