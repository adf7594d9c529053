"""Translations made of the pieces that a vocabulary map leaves."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.decoding import Beam, ForbiddenTokens, Greedy, MinLength, Processor, search
from kerasformer.decoding.state import LOWEST
from kerasformer.errors import InputError
from kerasformer.serving.preview.loaded_model import LoadedModel
from kerasformer.tasks import VocabularyMap, learn_vocabulary_map
from kerasformer.tasks.vocabulary_map import word_translations

WORDS = {"red": "ROT", "blue": "BLAU", "old": "ALT", "cat": "KATZE", "dog": "HUND", "house": "HAUS"}
SOURCES = [f"the {a} {b}" for a in list(WORDS)[:3] for b in list(WORDS)[3:]]
TARGETS = [f"{WORDS[text.split()[2]]} {WORDS[text.split()[1]]}" for text in SOURCES]
TEXTS = [*SOURCES, "", "the the cat 漢", "house of an old dog and a blue cat"]


@pytest.fixture(scope="module")
def task():
    keras.utils.set_random_seed(3)
    model = kf.text.learn_sentencepiece([*SOURCES, *TARGETS], 330, kind="bpe")
    tokenizer = kf.text.SentencePieceTokenizer(model, max_length=24)
    config = kf.models.TransformerConfig(
        tokenizer.vocabulary_size, hidden_dim=32, num_encoder_layers=1, num_decoder_layers=1, num_heads=2,
        intermediate_dim=64, dropout=0.0, norm_first=True,
    )  # fmt: skip
    return kf.tasks.Translator(kf.models.transformer(config), tokenizer, beam_size=3, min_length=3)


@pytest.fixture(scope="module")
def mapped(task):
    return task.with_vocabulary_map(learn_vocabulary_map(task, SOURCES, TARGETS, size=2, always=6))


class Others(Processor):
    """Leaves each row the tokens of the map, by way of its pieces."""

    def __init__(self, task, sources):
        pieces, own = task.tokenizer.vocabulary, task.vocabulary_map
        self.allowed = np.zeros([len(sources), len(pieces)], bool)
        for row, ids in enumerate(task.tokenizer.tokenize(sources).to_list()):
            names = {*own.always, *pieces[:4]}
            for token in [*ids, task.tokenizer.end_id]:
                names |= set(own.pieces.get(pieces[token], ()))
            self.allowed[row] = [piece in names for piece in pieces]

    def reweight(self, logits, said):
        return tf.where(self.allowed[said.rows.numpy()][:, None], logits, LOWEST)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("beam_size", [1, 3])
def test_the_search_is_the_whole_one_without_the_other_tokens(mapped, beam_size):
    texts = [text for text in TEXTS if text]
    tokenizer, inputs = mapped.tokenizer, mapped.tokenizer(texts)
    others = Others(mapped, texts)
    assert 12 < others.allowed.sum(1).mean() < 40
    found = search(
        kf.models.DecoderSteps(mapped.transformer),
        {f"source_{name}": value for name, value in inputs.items()},
        start_id=tokenizer.start_id,
        end_id=tokenizer.end_id,
        max_length=12,
        num_results=beam_size,
        select=Beam(3) if beam_size > 1 else Greedy(),
        processors=[others, ForbiddenTokens((0, 1, 2)), MinLength(3)],
    )
    answers = mapped.translate(texts, max_length=12, length_penalty=0.6, beam_size=beam_size, num_results=beam_size)
    rows = [
        tokenizer.detokenize(tf.RaggedTensor.from_tensor(ids, lengths)).numpy().tolist()
        for ids, lengths in zip(found["token_ids"], found["lengths"], strict=True)
    ]
    assert [[text.decode() for text in row] for row in rows] == answers["translations"].tolist()
    if beam_size > 1:  # whose scores are those of a beam
        np.testing.assert_allclose(answers["scores"], found["scores"], atol=1e-4)


def test_a_map_of_all_pieces_changes_nothing_and_one_of_few_does(task, mapped):
    everything = task.with_vocabulary_map(VocabularyMap(tuple(task.tokenizer.vocabulary), {}))
    plain, whole, few = (made.translate(TEXTS, max_length=12) for made in (task, everything, mapped))
    assert whole["translation"].tolist() == plain["translation"].tolist()
    np.testing.assert_allclose(whole["score"], plain["score"], atol=1e-4)
    assert (few["score"] > plain["score"])[:3].all(), "of fewer tokens each is likelier"
    without = mapped.with_vocabulary_map(None).translate(TEXTS, max_length=12)
    assert without["translation"].tolist() == plain["translation"].tolist()
    alone = [mapped.translate([text], max_length=12)["translation"][0] for text in TEXTS[:3]]
    assert alone == few["translation"][:3].tolist(), "other rows have no influence"


@pytest.mark.parametrize(
    "precision",
    ["int8", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("float32", "bfloat16", "int8_storage"))],
)
def test_exports(mapped, precision, tmp_path):
    mapped.save(tmp_path / "task")
    loaded = kf.load(tmp_path / "task")
    assert loaded.vocabulary_map == mapped.vocabulary_map
    data = tf.data.Dataset.from_tensor_slices(({"text": SOURCES, "text_pair": TARGETS}, TARGETS)).batch(3)
    kf.serving.export(loaded, tmp_path / "1", precision=precision, data=data)
    served = LoadedModel(tmp_path / "1")
    found = served.run("serving_default", {"text": np.array([text.encode() for text in TEXTS], object)})
    expected = mapped.translate(TEXTS)
    if precision == "float32":
        assert [text.decode() for text in found["translation"]] == expected["translation"].tolist()
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-4 if precision == "float32" else 0.15)
    nothing = served.run("greedy", {"text": np.array([], object)})
    assert {len(value) for value in nothing.values()} == {0}
    # Every translation is made of the pieces that its source allows.
    ids = mapped.tokenizer(TEXTS)
    said = served.run("tokens", {f"source_{name}": ids[name].numpy() for name in ("token_ids", "padding_mask")})
    allowed = Others(mapped, TEXTS).allowed
    for row, tokens in enumerate(said["token_ids"]):
        assert allowed[row, tokens[: said["lengths"][row]]].all()


def test_two_vocabularies_and_an_output_table_of_its_own(task):
    target = kf.text.SentencePieceTokenizer(kf.text.learn_sentencepiece(TARGETS, 310, kind="bpe"), max_length=20)
    sizes = {"hidden_dim": 16, "num_encoder_layers": 1, "num_decoder_layers": 1, "num_heads": 2, "intermediate_dim": 16}
    vocabularies = (task.tokenizer.vocabulary_size, target.vocabulary_size)
    model = kf.models.transformer(kf.models.TransformerConfig(*vocabularies, tie_embeddings=False, **sizes))
    plain = kf.tasks.Translator(model, task.tokenizer, target_tokenizer=target, beam_size=2)
    whole = plain.with_vocabulary_map(VocabularyMap(tuple(target.vocabulary), {}))
    found, expected = (made.translate(SOURCES[:3], max_length=6) for made in (whole, plain))
    assert found["translation"].tolist() == expected["translation"].tolist()
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-4)
    learned = learn_vocabulary_map(plain, SOURCES, TARGETS, size=2, always=1)
    assert set(learned.pieces["▁cat"]) <= set(target.vocabulary)
    assert plain.with_vocabulary_map(learned).translate(["cat"])["translation"].shape == (1,)


def test_words_that_are_always_together_translate_each_other():
    # The book, a house; the example of Koehn 2010, section 4.2.2, whose first iterations are known.
    sources = tf.ragged.constant([[0, 1], [0, 2], [3, 2]])  # das Haus, das Buch, ein Buch
    targets = tf.ragged.constant([[0, 1], [0, 2], [3, 2]])  # the house, the book, a book

    def probability(source, target, iterations):
        found = zip(*(part.tolist() for part in word_translations(sources, targets, iterations)), strict=True)
        return next(value for *pair, value in found if pair == [source, target])

    assert probability(0, 0, 1) == probability(2, 2, 1) == 0.5
    assert probability(0, 1, 1) == 0.25
    assert probability(0, 0, 2) == pytest.approx(0.6364, abs=1e-4)
    assert probability(1, 1, 2) == pytest.approx(0.5714, abs=1e-4)
    assert probability(2, 2, 40) > 0.99


def test_the_learned_map(task):
    found = learn_vocabulary_map(task, SOURCES, TARGETS, size=3, always=5)
    assert len(found.always) == 5
    assert found.always[0] == "</s>"
    pieces = [task.tokenizer.vocabulary[token] for token in task.tokenizer.tokenize(["KATZE"]).to_list()[0]]
    assert pieces[0] in found.pieces["▁cat"]
    assert found.pieces["▁cat"][-1] == "▁cat", "and what may be copied"
    assert max(map(len, found.pieces.values())) == 4


def test_the_file(tmp_path):
    path = tmp_path / "vmap.txt"
    path.write_text("\ta b\n▁c\td e\n▁f\t\n", encoding="utf-8")
    found = VocabularyMap.load(path)
    assert found == VocabularyMap(("a", "b"), {"▁c": ("d", "e"), "▁f": ()})
    found.save(tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_bytes() == path.read_bytes()


def test_mistakes(task, tmp_path):
    (tmp_path / "vmap.txt").write_text("\ta\n▁two words\ta\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"line 2, must hold a source piece.*two words"):
        VocabularyMap.load(tmp_path / "vmap.txt")
    with pytest.raises(InputError, match="text file in UTF-8"):
        VocabularyMap.load(tmp_path / "none.txt")
    for wrong in (VocabularyMap(("xyz",), {}), VocabularyMap((), {"xyz": ()}), VocabularyMap((), {"▁the": ("xyz",)})):
        with pytest.raises(InputError, match=r"tokenizer's pieces. Received: \['xyz'\]"):
            task.with_vocabulary_map(wrong)
    with pytest.raises(InputError, match="size=0"):
        learn_vocabulary_map(task, SOURCES, TARGETS, size=0)
    with pytest.raises(InputError, match="9 and 2 texts"):
        learn_vocabulary_map(task, SOURCES, TARGETS[:2])
