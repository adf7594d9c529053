"""The report: one file, escaped, without a server; the command that writes it; pictures."""

import html.parser
import json
import re

import keras
import numpy as np
import pytest
from commands import run

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.explain import Explanation
from kerasformer.explain.coloring import coloured

NAMES = ["bad <b>", "good"]
TEXTS = [
    *["good day", "a bad day", "not good", "so bad <script>alert(1)</script>", "good & fine", "bad", "a good day"],
    *["", "never good 🙂", "fine day"],
] * 3


class Checked(html.parser.HTMLParser):
    """Tags that are open; raises where another is closed. `told` are the scripts and the words with a number."""

    def __init__(self, page):
        super().__init__()
        self.open, self.scripts, self.words, self.links = [], 0, 0, []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.scripts += tag == "script"
        self.words += "data-s" in dict(attributes)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    base = tmp_path_factory.mktemp("report")
    keras.utils.set_random_seed(0)
    encoder, tokenizer = kf.families.random_encoder(TEXTS, "tiny", vocabulary_size=90, max_length=24)
    task = kf.tasks.TextClassifier(encoder, tokenizer, NAMES)
    task.head.output.kernel.assign(task.head.output.kernel * 60)
    task.save(base / "task")
    rows = [{"text": text, "label": NAMES["good" in text]} for text in TEXTS]
    (base / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return base


def test_the_command_writes_one_whole_file(capsys, saved, monkeypatch):
    # Each method costs seconds of tracing.
    monkeypatch.setattr(kf.explain.report, "METHODS", ("occlusion", "gradient_x_input", "random"))
    target = saved / "out.html"
    data = saved / "data.jsonl"
    code, out, err = run(capsys, "explain", saved / "task", "--data", data, "--train", data, "--report", target)
    assert (code, err) == (0, "")
    assert out.startswith(f"{target}: {len(TEXTS)} texts, ")
    page = target.read_text(encoding="utf-8")
    checked = Checked(page)
    assert checked.open == []
    assert checked.scripts == 1, "its own, and none of a text"
    assert "<script>alert" not in page
    assert "bad &lt;b&gt;" in page
    assert checked.words > 20
    assert all(link.startswith(("#", "data:image/png")) for link in checked.links)
    assert "prefers-color-scheme:dark" in page
    assert "nearest training texts" in page
    for method in ["occlusion", "gradient_x_input", "random"]:
        assert re.search(rf"<td>(<b>)?{method}(</b>)?</td>", page)
    assert not re.search(r"\bnan\b", page)
    assert len(page) < 5e6
    assert sorted(path.name for path in saved.iterdir()) == ["data.jsonl", "out.html", "task"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"--method": "magic"}, "`method` must be one of"),
        ({"--data": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"--report": "nowhere/out.html"}, "no folder"),
        ({"--report": "."}, "a folder"),
        ({"--report": "gs://bucket/out.html"}, "local paths only"),
    ],
)
def test_mistakes_are_one_line(changes, expected, capsys, saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = {"--data": saved / "data.jsonl", "--report": "out.html", **changes}
    code, out, err = run(capsys, "explain", saved / "task", *[part for pair in arguments.items() for part in pair])
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert expected in err
    assert not list(tmp_path.iterdir())


def test_a_regression_of_pairs_has_no_probabilities(saved):
    encoder, tokenizer = kf.families.random_encoder(TEXTS, "tiny", vocabulary_size=90, max_length=24)
    task = kf.tasks.TextClassifier(encoder, tokenizer, pairs=True)
    examples = kf.data.from_lists(TEXTS[:12], [0.5, 1.0] * 6, pairs=TEXTS[12:24], regression=True)
    report = kf.explain.make_report(task, examples, name="<x>", method="gradient_x_input", most=6)
    assert (report.calibration, report.compared, report.explained) == (None, [], 6)
    page = kf.explain.report_page.page_of(report)
    assert Checked(page).open == []
    assert "&lt;x&gt;" in page
    assert page.count("Not for this task.") == 2


def explanation(text, words, values, **fields):
    data = text.encode()
    starts = [data.index(word.encode()) for word in words]
    ends = [start + len(word.encode()) for start, word in zip(starts, words, strict=True)]
    return Explanation(text, words, starts, ends, np.array(values, np.float32), "a<b", 0.9, "a<b", "m", **fields)


def test_words_are_coloured_and_escaped():
    one = explanation("süß <b> & end", ["süß", "<b>", "end"], [0.5, -1, 0], read_until=12)
    [page] = coloured(one, lambda word, value, strength: f"[{word} {value:g} {strength:g}]")
    assert page == "[süß 0.5 0.5] [&lt;b&gt; -1 -1] &amp; [end 0 0]"
    assert coloured(explanation("so on", ["so"], [1.0], read_until=2))[0].endswith(
        '<s title="not read: the text is too long"> on</s>'
    )
    shown = one._repr_html_()
    assert "<b>" not in shown
    assert "a&lt;b" in shown
    assert "underline" in shown
    assert coloured(explanation("", [], [])) == [""]


def test_pictures(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    kf.explain.draw_explanation(explanation("a $ b", ["a", "$", "b"], [0.5, -1, 0]), tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"pip install 'kerasformer\[explain\]'"):
        kf.explain.draw_explanation(explanation("a", ["a"], [0.5]), tmp_path / "two.png")
