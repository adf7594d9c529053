"""Ids, offsets and word numbers of tokenizer folders compared with the `tokenizers` library, text by text.

    KF_DATA=data python -m benchmarks.compare_tokenizers roberta-base gpt2
    KF_DATA=data python -m benchmarks.compare_tokenizers roberta-base --speed

Texts: all of TweetEval, Tatoeba's languages, source code, every code point between two letters, and random mixtures of
white space, quotes, letters of several scripts, control characters and special tokens. Prints one line for each kind of
text and exits with 1 where a text differs.
"""

import argparse
import gzip
import json
import os
import pathlib
import random
import shutil
import statistics
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf
import tokenizers

import kerasformer as kf
from benchmarks.measure import surroundings
from kerasformer.text.graphemes import JOINS, grapheme_flags

_BATCH = 1000


def read_texts(folder):
    """Every string of the `.jsonl`, `.jsonl.gz`, `.txt` and `.tsv` files below a folder."""
    texts = []
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if not path.name.removesuffix(".gz").endswith((".jsonl", ".txt", ".tsv")):
            continue
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            for line in file:
                if ".jsonl" in path.name:
                    texts += [value for value in json.loads(line).values() if isinstance(value, str)]
                else:
                    texts.append(line.rstrip("\n"))
    return texts


def source_code():
    """The Python files of this project and of the standard library's top folder."""
    folders = pathlib.Path(kf.__file__).parents[1], pathlib.Path(os.__file__).parent
    paths = [*folders[0].glob("kerasformer/**/*.py"), *folders[1].glob("*.py")]
    return [path.read_text(encoding="utf-8", errors="replace") for path in sorted(paths)]


def code_points(step=1):
    """Every `step`-th code point between two letters."""
    return [f"a{chr(code)}b" for code in range(0, 0x110000, step) if not 0xD800 <= code < 0xE000]


def mixtures(count, special_tokens, seed=0):
    """Random texts of what tokenizers treat in a special way."""
    draw = random.Random(seed)
    parts = [
        *"  '!?.,#@09½٣éßİǅaAbstmdrevlSTLL日本かक्ष😀\t\n\r\v\0\x1c\x85\xa0\u2003\u2028\u200d\ufeff\ufffd\u0301",
        "'re",
        "'LL",
    ]
    parts += [*special_tokens, *(f" {token}" for token in special_tokens), *(f"{token} " for token in special_tokens)]
    some = [chr(code) for code in draw.sample([*range(0xD800), *range(0xE000, 0x110000)], 500)]
    texts = ["".join(draw.choice(parts) for _ in range(draw.randrange(1, 30))) for _ in range(count // 2)]
    return texts + ["".join(draw.choice(parts + some) for _ in range(draw.randrange(1, 30))) for _ in range(count // 2)]


def differences(ours, theirs, texts, offsets=True):
    """The texts whose ids, word numbers, or `offsets` differ: list of (text, ours, theirs)."""
    found = []
    for begin in range(0, len(texts), _BATCH):
        part = texts[begin : begin + _BATCH]
        columns = [values.to_list() for values in ours.tokenize_with_words(part)]
        bare = ours.tokenize(part).to_list()
        for text, same, *row, encoding in zip(
            part, bare, *columns, theirs.encode_batch(part, add_special_tokens=False), strict=True
        ):
            places = np.cumsum([0, *(len(char.encode()) for char in text)])
            ends = [places[[start, end]].tolist() for start, end in encoding.offsets]
            expected = [encoding.ids, [start for start, _ in ends], [end for _, end in ends], encoding.word_ids]
            if not offsets:
                del row[1:3], expected[1:3]
            if row != expected or same != encoding.ids:
                found.append((text, row, expected))
    return found


def offset_faults(ours, texts):
    """The texts in which pieces are out of order, or leave out more than what a normalizer drops: list of str.

    A mark or a line feed may be left out, for a normalizer may make one character of several.
    """
    found, gaps = [], {}
    for begin in range(0, len(texts), _BATCH):
        part = texts[begin : begin + _BATCH]
        _, starts, ends = (values.to_list() for values in ours.tokenize_with_offsets(part))
        for text, first, last in zip(part, starts, ends, strict=True):
            data = text.encode()
            if first != sorted(first) or any(a > b for a, b in zip(first, last, strict=True)):
                found.append(text)
            for a, b in zip([0, *last], [*first, len(data)], strict=True):
                gap = "".join(
                    char for char in data[a:b].decode() if char != "\n" and not grapheme_flags()[ord(char)] & JOINS
                )
                gaps.setdefault(gap, text)
    tokens = ours.tokenize([*gaps]).row_lengths().numpy().tolist()
    return found + [text for text, count in zip(gaps.values(), tokens, strict=True) if count]


def folder_of(name, scratch):
    """The folder of a tokenizer below $KF_DATA/tokenizers; its copy in `scratch` where `tokenizer.json` is packed."""
    folder = _data() / "tokenizers" / name
    if not (folder / "tokenizer.json.gz").is_file():
        return folder
    scratch = pathlib.Path(scratch) / name
    shutil.copytree(folder, scratch)
    scratch.chmod(0o755)
    (scratch / "tokenizer.json").write_bytes(gzip.decompress((folder / "tokenizer.json.gz").read_bytes()))
    return scratch


def _speed(tokenizer):
    """Times of 32 tweets on one thread: this tokenizer's over WordPiece's, interleaved."""
    wordpiece = kf.text.Tokenizer.from_folder(_data() / "tokenizers" / "bert-base-uncased")
    tweets = read_texts(_data() / "tweeteval" / "sentiment")[:3200]
    batches = [tf.constant(tweets[begin : begin + 32]) for begin in range(0, len(tweets), 32)]
    times = {name: [] for name in ("tokenizer", "wordpiece")}
    for repeat in range(6):
        for batch in batches:
            for name, one in (("tokenizer", tokenizer), ("wordpiece", wordpiece)):
                begin = time.perf_counter()
                one(batch)["token_ids"].numpy()
                if repeat:
                    times[name].append(time.perf_counter() - begin)
    ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
    for name, values in times.items():
        print(f"{name}: median {1e3 * statistics.median(values):.2f} ms, best {1e3 * min(values):.2f} ms")
    best = min(times["tokenizer"]) / min(times["wordpiece"])
    print(f"ratio: median {ratio:.2f}, of the best times {best:.2f}")
    print(surroundings(("kerasformer", "tensorflow", "tensorflow-text"), threads=1))


def _data():
    return pathlib.Path(os.environ["KF_DATA"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="folders below $KF_DATA/tokenizers")
    parser.add_argument("--speed", action="store_true", help="measure the time instead")
    parser.add_argument("--step", type=int, default=1, help="compare every n-th text")
    flags = parser.parse_args()
    if flags.speed:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    scratch, failed = tempfile.mkdtemp(), False
    for name in flags.names:
        folder = folder_of(name, scratch)
        ours = kf.text.Tokenizer.from_folder(folder)
        if flags.speed:
            _speed(ours)
            continue
        theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        theirs.no_padding()
        theirs.no_truncation()
        # Where one character replaces two, it has the place of only one of them.
        replaces = "unk_id" in ours.specification["model"] or "Precompiled" in str(ours.specification["normalizer"])
        kinds = {
            "mixtures": lambda ours=ours: mixtures(20_000, ours.special_tokens),
            "code points": code_points,
            "source code": source_code,
            "TweetEval": lambda: read_texts(_data() / "tweeteval"),
            "Tatoeba": lambda: read_texts(_data() / "multilingual"),
        }
        for kind, texts in kinds.items():
            texts = texts()[:: flags.step]
            found = differences(ours, theirs, texts, offsets=not replaces)
            print(f"{name}: {kind}: {len(texts):,} texts, {len(found):,} differ", flush=True)
            for text, row, expected in found[:2]:
                print(f"    {text[:60]!r}\n    {row}\n    {expected}")
            failed |= bool(found) or not texts
    shutil.rmtree(scratch)
    sys.exit(failed)


if __name__ == "__main__":
    main()
