import itertools
import os
import pathlib

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
