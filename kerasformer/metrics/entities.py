"""Tags of words and the entities that they mean, as the CoNLL-2000 evaluation script `conlleval` reads them."""

# Letters of other schemes: BILOU's last and unit, BMES's middle.
_SAME = {"L": "E", "U": "S", "M": "I"}
_LETTERS = frozenset("BIOES")


def split_tag(tag):
    """A tag as `(letter, type)`: "B-Disease" is ("B", "Disease"); letters are of B, I, E, S and O.

    Raises:
        ValueError: it is not such a tag.
    """
    letter, _, kind = tag.partition("-")
    letter = _SAME.get(letter, letter)
    if letter not in _LETTERS or (letter == "O") == bool(kind):
        raise ValueError(tag)
    return letter, kind


def entities_of(tags):
    """The entities of one sentence in IOB1, IOB2, BIOES or BILOU, in order.

    Where tags do not fit together an entity begins, as in `conlleval`: an I- without a B- before it, or of another
    type than the word before.

    Args:
        tags: list of `(letter, type)`, as returned by `split_tag`.

    Returns:
        list of `(first word, word after the last, type)`.
    """
    found, begin = [], None
    before, kind_before = "O", ""
    for place, (letter, kind) in enumerate([*tags, ("O", "")]):
        changed = kind != kind_before
        if before != "O" and (letter in "BSO" or before in "ES" or changed):
            found.append((begin, place, kind_before))
        if letter in "BS" or (letter != "O" and (before in "ESO" or changed)):
            begin = place
        before, kind_before = letter, kind
    return found


def count_entities(expected, predicted):
    """How many entities of each type agree, are predicted and are expected: `{type: [correct, predicted, expected]}`.

    Args:
        expected, predicted: lists of entities of all sentences, each with its sentence's number or another key in it:
            `(key..., type)`; one agrees if the whole tuple is in both.
    """
    counts = {}
    expected, predicted = set(expected), set(predicted)
    for column, entities in enumerate((expected & predicted, predicted, expected)):
        for entity in entities:
            counts.setdefault(entity[-1], [0, 0, 0])[column] += 1
    return counts


def precision_recall_f1(correct, predicted, expected):
    """Three fractions, 0 where there is nothing to divide by, as in `conlleval`."""
    precision = correct / predicted if predicted else 0.0
    recall = correct / expected if expected else 0.0
    return precision, recall, 2 * correct / (predicted + expected) if correct else 0.0
