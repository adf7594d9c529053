"""Trains the sentiment recipe, publishes it, serves it for a moment and asks it: `make demo`."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import urllib.request

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from kerasformer.errors import InputError, one_line_errors

PROJECT = pathlib.Path(__file__).resolve().parent.parent
WORKDIR, MODELS = PROJECT / "work" / "demo", PROJECT / "savedmodels"
SENTENCES = ["The soup was cold and the waiter was rude.", "A joy from start to finish."]


def main(flags=()):
    """Trains, publishes, serves and asks; `flags` are further ones of the recipe."""
    print("training a classifier of reviews; TensorFlow takes some seconds to start", flush=True)
    recipe = [sys.executable, str(PROJECT / "recipes" / "sentiment.py"), "--workdir", str(WORKDIR)]
    if subprocess.run(
        [*recipe, "--export", str(MODELS / "sentiment"), "--export-precision", "auto", *flags]
    ).returncode:
        raise InputError("The recipe failed; its last lines say why.")
    metrics = json.loads((WORKDIR / "metrics.json").read_text())
    test = (PROJECT / "recipes" / "samples" / "reviews" / "test.jsonl").read_text(encoding="utf-8")
    labels = [json.loads(line)["label"] for line in test.splitlines()]
    majority = max(labels.count(label) for label in set(labels)) / len(labels)

    from kerasformer.serving import PreviewServer

    with PreviewServer(MODELS, rest_port=0, grpc_port=0, tell=lambda *_: None) as server:
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/sentiment:predict"
        request = urllib.request.Request(url, json.dumps({"instances": SENTENCES}).encode(), method="POST")
        answers = json.load(urllib.request.urlopen(request))["predictions"]

    print(f"\naccuracy on {len(labels)} held-out reviews: {metrics['test']['accuracy']:.3f}")
    print(f"majority-class baseline:         {majority:.3f}\n")
    for sentence, answer in zip(SENTENCES, answers, strict=True):
        print(f"{answer['label']:>9} {answer['score']:.3f}  {sentence}")
    body = json.dumps({"instances": SENTENCES[:1]})
    python = os.path.relpath(sys.executable)
    client = 'kf.serving.Client("127.0.0.1:8500", model="sentiment")'
    print(f"""
To ask again, start the server with

    make serve

and in another terminal

    curl -d '{body}' http://127.0.0.1:8501/v1/models/sentiment:predict
    {python} -c 'import kerasformer as kf; print({client}.predict(text=["{SENTENCES[1]}"]))'
""")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    with one_line_errors():
        main()
