"""BLEU with the tokenizer of the references' script."""

import pytest
from sacrebleu.metrics import BLEU

from kerasformer.errors import InputError
from kerasformer.metrics import bleu_tokenizer, corpus_scores

CHINESE = ["今天天气很好，我们去公园散步。", "他昨天买了一本关于历史的书。", "请把门关上，外面很冷。"]
TRANSLATED = ["今天天气很好，我们去公园散步吧。", "他昨天买了一本关于历史的新书。", "请把门关上，外边很冷。"]


def installed(name):
    try:
        BLEU(tokenize=name)
    except Exception:
        return False
    return True


def test_bleu_of_chinese():
    scores, signatures = corpus_scores(TRANSLATED, CHINESE)
    assert scores["bleu"] == pytest.approx(BLEU(trg_lang="zh").corpus_score(TRANSLATED, [CHINESE]).score)
    assert scores["bleu"] == pytest.approx(81.6, abs=0.1)
    assert "tok:zh" in signatures["bleu"]


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["A dog runs.", "Ein Hund läuft."], "13a"),
        (["Собака бежит.", "الكلب يجري"], "13a"),
        (["कुत्ता दौड़ता है।"], "13a"),
        (CHINESE, "zh"),
        (["我喜欢 Python 编程语言和机器学习"], "zh"),
        (["今日は天気がいいので公園へ散歩に行きます。"], "ja-mecab" if installed("ja-mecab") else "char"),
        (["東京都知事選挙の結果"], "ja-mecab" if installed("ja-mecab") else "char"),
        (["오늘은 날씨가 좋아서 공원에 갑니다."], "ko-mecab" if installed("ko-mecab") else "char"),
        (["วันนี้อากาศดีมาก"], "char"),
        (["ថ្ងៃនេះអាកាសធាតុល្អ"], "char"),
        (["In 2024, 北京 was visited by many people from abroad."], "13a"),
        ([""], "13a"),
        ([], "13a"),
    ],
)
def test_the_script_chooses_the_tokenizer(texts, name):
    assert bleu_tokenizer(texts) == name
    assert f"tok:{name}" in corpus_scores(texts or ["a"], texts or ["a"])[1]["bleu"]


def test_a_tokenizer_that_is_asked_for():
    assert bleu_tokenizer(CHINESE, "char") == "char"
    scores, signatures = corpus_scores(TRANSLATED, CHINESE, tokenize="char")
    assert "tok:char" in signatures["bleu"]
    assert scores["bleu"] == pytest.approx(BLEU(tokenize="char").corpus_score(TRANSLATED, [CHINESE]).score)
    with pytest.raises(InputError, match=r"must be one of 13a, .*Received: 'moses'"):
        bleu_tokenizer([], "moses")


@pytest.mark.parametrize("name", ["ja-mecab", "ko-mecab"])
def test_a_tokenizer_whose_package_is_missing_is_one_line(name):
    if installed(name):
        pytest.skip(f"{name} is installed")
    with pytest.raises(InputError, match=r"cannot be used: .*pip install") as caught:
        bleu_tokenizer([], name)
    assert "\n" not in str(caught.value)
