"""What the benchmarks share, and a dry run of those that need a GPU."""

import pytest

from benchmarks import measure


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ("model name\t: A CPU\nflags\t\t: fpu avx2 avx512f amx_int8\n", "A CPU (avx2 avx512f amx_int8), "),
        ("model name\t: A CPU\nflags\t\t: fpu sse2\n", "A CPU, "),
        (None, ", "),
    ],
)
def test_surroundings_name_the_features_of_the_processor(info, told, monkeypatch):
    def read_text(path):
        if info is None:
            raise FileNotFoundError(path)
        return info

    monkeypatch.setattr(measure.Path, "read_text", read_text)
    line = measure.surroundings(["no-such-distribution"], 2)
    assert told in line
    assert info or "(" not in line


def test_systems_are_chosen_by_precision():
    systems = ("ours-float32", "ours-bfloat16", "peer", "peer-64", "peer-int8")
    assert measure.chosen(systems, systems, ["float32"]) == ["ours-float32", "peer", "peer-64"]
    assert measure.chosen(systems, systems, ["int8", "bfloat16"]) == ["ours-bfloat16", "peer-int8"]
    with pytest.raises(SystemExit, match=r"must be of: ours-float32 .* Received: theirs"):
        measure.chosen(systems, ["theirs"], ["float32"])
    with pytest.raises(SystemExit, match=r"\(peer\) computes in int8"):
        measure.chosen(systems, ["peer"], ["int8"])
