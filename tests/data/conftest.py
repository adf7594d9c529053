import gzip
import json

import pytest


@pytest.fixture
def write(tmp_path):
    """Writes text, bytes or a list of JSON records to a file of the test's folder, gzipped where the name says so."""

    def write_file(name, content):
        if isinstance(content, list):
            content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in content)
        if isinstance(content, str):
            content = content.encode()
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write_file
