"""Faithfulness by hand, on a classifier that adds up its words."""

import types

import numpy as np
import pytest

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.explain import Explanation, faithfulness, plausibility, stability, with_words

WEIGHTS = {"good": 0.4, "fine": 0.2, "bad": -0.3, "the": 0.0, "a": 0.01}


class Adding(kf.tasks.TextClassifier):
    """The probability of "yes" is 0.5 and the weights of the words."""

    def __init__(self, pairs=False):
        self.__dict__["settings"] = types.SimpleNamespace(
            label_names=("no", "yes"), pairs=pairs, __dataclass_fields__={"label_names": 0, "pairs": 0}
        )
        self.asked = []

    def predict(self, *columns, batch_size=32):
        texts = [" ".join(row) for row in zip(*columns, strict=True)]
        self.asked += texts
        yes = [0.5 + sum(WEIGHTS[word] for word in text.split()) for text in texts]
        return {"scores": np.array([[1 - each, each] for each in yes])}


def explained(text, attributions, label="yes", **fields):
    words, starts, at = text.split(" "), [], 0
    for word in words:
        starts.append(at)
        at += len(word.encode()) + 1
    ends = [start + len(word.encode()) for start, word in zip(starts, words, strict=True)]
    values = np.array(attributions, np.float32)
    return Explanation(text, words, starts, ends, values, label, 0.9, label, "m", **fields)


def weights(text):
    return explained(text, [WEIGHTS[word] for word in text.split()])


def test_by_hand():
    # Empty: 0.5; whole: 0.9, so that all words count 0.4. One word of two is taken, at all shares.
    exact = faithfulness(Adding(), [weights("good the")])
    assert exact.comprehensiveness.tolist() == exact.sufficiency.tolist() == [1.0]
    assert exact.fall_without[0] == pytest.approx(0.4)
    assert exact.fall_alone[0] == pytest.approx(0)
    wrong = faithfulness(Adding(), [explained("good the", [0, 1])])
    assert wrong.comprehensiveness.tolist() == wrong.sufficiency.tolist() == [0.0]
    # Four words, 0.3 in all, and half of them at the last share alone: good; good and fine.
    several = faithfulness(Adding(), [weights("the good bad fine")])
    assert several.comprehensiveness[0] == pytest.approx(1)
    assert several.fall_without[0] == pytest.approx((4 * 0.4 + 0.6) / 5)
    third = faithfulness(Adding(), [explained("the good bad fine", [0, 0, 0, 1])])
    # 0.2 of 0.3 at four shares; with "the" 0.2 as well.
    assert third.comprehensiveness[0] == pytest.approx(2 / 3)
    assert third.sufficiency[0] == pytest.approx(2 / 3)
    figure = several.over(third)["comprehensiveness"]
    assert figure.value == pytest.approx(1 / 3)


def test_texts_that_say_nothing_are_left_out_and_texts_are_asked_once():
    task, known = Adding(), {}
    found = faithfulness(task, [weights("the a"), weights("good the"), weights("bad a")], known=known)
    assert found.texts.tolist() == [1]
    asked = len(task.asked)
    assert asked == len(set(task.asked))
    faithfulness(task, [explained("good the", [0, 1])], known=known)
    assert len(task.asked) == asked
    empty = Explanation("", [], [], [], np.zeros(0, np.float32), "yes", 0.5, "yes", "m")
    assert len(faithfulness(task, [empty]).texts) == 0


def test_words_are_taken_out_of_the_text():
    text = "süß,  gut 漢字 end"
    data = text.encode()
    words = ["süß", "gut", "漢", "字", "end"]
    starts = [data.index(word.encode()) for word in words]
    ends = [start + len(word.encode()) for start, word in zip(starts, words, strict=True)]
    one = Explanation(text, words, starts, ends, np.zeros(5, np.float32), "yes", 1.0, "yes", "m")
    assert with_words(one, [True] * 5) == text
    assert with_words(one, [True, False, True, False, True]) == "süß, 漢 end"
    assert with_words(one, [False] * 5) == ","
    values = np.array([1, 0], np.float32)
    pair = Explanation(("good", "bad"), ["good", "bad"], [0, 0], [4, 3], values, "yes", 0.9, "yes", "m", fields=[0, 1])
    assert with_words(pair, [False, True]) == ("", "bad")
    assert faithfulness(Adding(pairs=True), [pair]).texts.tolist() == [0]
    cut = explained("good the", [1, 0], read_until=4)
    assert with_words(cut, [True, True]) == "good"


def test_stability():
    task = Adding()
    texts = ["good bad the fine a", "fine good bad a"]
    found = stability(task, [weights(text) for text in texts], lambda texts: [weights(text) for text in texts])
    assert found.repeated == 0
    assert found.changed.value == pytest.approx(1)
    rng = np.random.default_rng(0)
    noisy = lambda texts: [explained(text, rng.normal(size=len(text.split()))) for text in texts]  # noqa: E731
    found = stability(task, noisy(texts), noisy)
    assert found.repeated > 0.1
    assert found.changed.value < 1
    assert stability(task, [weights("good")], lambda texts: [weights(text) for text in texts]).changed is None


def test_plausibility():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    one, other = explained("a good the bad", [0.3, 0.4, 0.1, 0.2]), explained("the fine", [0, 1])
    found = plausibility([one, other, weights("good")], [[(2, 6), (11, 14)], [(5, 6)], [(0, 4)]])
    area = sklearn_metrics.average_precision_score([0, 1, 0, 1], [0.3, 0.4, 0.1, 0.2])
    assert found["auprc"].value == pytest.approx((area + 1) / 2)
    assert found["token_f1"].value == pytest.approx((0.5 + 1) / 2)
    with pytest.raises(InputError, match="Received: none"):
        plausibility([one], [[]])


def test_what_has_no_probabilities():
    encoder, tokenizer = kf.families.random_encoder(["a b"] * 4, "tiny", vocabulary_size=40, max_length=8)
    for task in (kf.tasks.TextClassifier(encoder, tokenizer), kf.tasks.TextEmbedder(encoder, tokenizer)):
        with pytest.raises(InputError, match="Faithfulness is of the probabilities"):
            faithfulness(task, [])
