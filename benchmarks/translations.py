"""A translator's export against its Python model, and BLEU as papers count it.

python -m benchmarks.translations --task work/translate/task --export savedmodels/en-de/1 --test test.jsonl.gz

Papers on Multi30k count BLEU on text that Moses has tokenized; `sacrebleu`'s own tokenizer, which the recipe uses,
differs a little in hyphens and quotes. Needs `sacremoses`.
"""

import dataclasses
from pathlib import Path

import numpy as np
import tyro
from sacrebleu.metrics import BLEU
from sacremoses import MosesTokenizer

import kerasformer as kf
from benchmarks.measure import surroundings, usable_cores
from kerasformer.serving.preview.loaded_model import LoadedModel
from kerasformer.tasks.translation_pieces import language_tag


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to translate, and with what.

    Attributes:
        task: folder of a saved Translator.
        export: folder of a version of its SavedModel; None compares nothing.
        test: source of pairs.
        source, target: languages, as the fields are named.
        batch: sentences a call of the export.
        precision: that the Python model computes in; the export's.
    """

    task: Path
    test: str
    export: Path | None = None
    source: str = "en"
    target: str = "de"
    batch: int = 64
    precision: str = "float32"


def main(arguments: Arguments) -> None:
    print(surroundings(("kerasformer", "tensorflow", "sacrebleu", "sacremoses"), usable_cores()))
    saved = kf.load(arguments.task)
    # As the export has it, whatever the policy was in training.
    model = kf.models.with_precision(saved.transformer, arguments.precision)
    task = kf.tasks.Translator(model, saved.tokenizer, **saved.further_tokenizers(), **vars(saved.settings))
    pairs = kf.data.load_translation(arguments.test, arguments.source, arguments.target)
    texts = list(pairs.texts)
    if task.target_languages:
        texts = [f"{language_tag(arguments.target)} {text}" for text in texts]
    found = task.translate(texts)["translation"].tolist()

    lowercase = task.target_tokenizer.lowercase
    moses = MosesTokenizer(arguments.target)

    def tokenized(sentences):
        return [
            moses.tokenize(text.lower() if lowercase else text, return_str=True, escape=False) for text in sentences
        ]

    ways = {
        "sacrebleu 13a": (BLEU(lowercase=lowercase), found, list(pairs.pairs)),
        "tokenized by Moses": (BLEU(tokenize="none", force=True), tokenized(found), tokenized(pairs.pairs)),
    }
    for name, (bleu, hypotheses, references) in ways.items():
        score = bleu.corpus_score(hypotheses, [references])
        print(f"{name}: BLEU {score.score:.2f}  {bleu.get_signature()}")
    if arguments.export is None:
        return
    served = LoadedModel(arguments.export)
    answers = []
    for start in range(0, len(texts), arguments.batch):
        raw = np.array([text.encode() for text in texts[start : start + arguments.batch]], object)
        answers += [text.decode() for text in served.run("", {"text": raw})["translation"]]
    same = sum(one == other for one, other in zip(found, answers, strict=True))
    print(f"the export gives the Python model's translation for {same} of {len(texts)}")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
