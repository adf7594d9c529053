"""The command `kerasformer`: publish, serve, check, predict, explain, info."""

import argparse
import contextlib
import os
import signal
import sys
import threading

from kerasformer._quiet import load_tensorflow
from kerasformer.cli_output import doing, megabytes, print_signatures, progress, shown
from kerasformer.errors import InputError, one_line_errors
from kerasformer.files import read_locally

_EXAMPLES = """\
examples:
  kerasformer info work/sentiment/task
  kerasformer publish work/sentiment/task savedmodels/sentiment
  kerasformer check savedmodels/sentiment/1
  kerasformer serve savedmodels/
  kerasformer predict work/sentiment/task --input texts.txt --output answers.jsonl

Each command has its own help: kerasformer COMMAND --help"""


def main(arguments=None):
    """Runs the command line; returns the exit code.

    Exit codes: 0, 1 for a user's mistake (one line on standard error), 2 for a wrong command line, 130
    when interrupted.
    """
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with one_line_errors():
        return options.run(options) or 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="kerasformer",
        description="From a folder with a trained task to served answers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name, run, summary, example):
        new = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog="\n".join(["example:", *(f"  kerasformer {line}" for line in example.split("\n"))]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        new.set_defaults(run=run)
        return new

    new = command(
        "publish",
        _publish,
        "export a task as the next version of a model, checked as a server would meet it",
        "publish work/sentiment/task savedmodels/sentiment --precision bfloat16\n"
        "publish work/sentiment/task savedmodels/sentiment --precision int8 --int8 storage\n"
        "publish work/sentiment/task savedmodels/sentiment --explain occlusion\n"
        "publish distilbert-base-uncased-finetuned-sst-2-english savedmodels/sst2",
    )
    new.add_argument("folder", help="folder of a saved task, or of a fine-tuned model of Hugging Face's or KerasHub's")
    _add_task_options(new)
    new.add_argument("model", help="base folder of the model's versions, such as savedmodels/NAME or gs://BUCKET/NAME")
    new.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "int8", "int8_storage", "auto"),
        default="float32",
        help="default: %(default)s; auto measures float32, bfloat16 and int8 on this machine and takes the fastest",
    )
    new.add_argument(
        "--int8",
        choices=("compute", "storage"),
        help="with int8, compute in 8-bit integers as well (default), for which the server needs an x86 processor; or "
        "only store the weights in these, the same as --precision int8_storage",
    )
    new.add_argument(
        "--data",
        metavar="F",
        help="labelled examples: for the figures in the model card, and for int8 and auto typical inputs and what the "
        "answers must be",
    )
    new.add_argument(
        "--max-loss",
        type=float,
        default=0.005,
        help="with auto, by how much the metric of --data may be below that of float32, default %(default)s",
    )
    new.add_argument(
        "--machine",
        choices=("avx2", "avx512_bf16"),
        help="with auto, the kind of processor that will serve, if it is another than this one",
    )
    new.add_argument(
        "--explain",
        choices=("integrated_gradients", "occlusion", "gradient_x_input"),
        help="of a classifier, add the signature explain: which words made it answer so, by this method",
    )

    new = command(
        "serve",
        _serve,
        "serve SavedModels with TensorFlow Serving's REST and gRPC interfaces, to try them on this machine; for "
        "production run TensorFlow Serving itself on the same folder",
        "serve savedmodels/ --rest-port 8501",
    )
    new.add_argument("folder", help="base folder of NAME/VERSION/saved_model.pb, or one model's folder")
    new.add_argument("--rest-port", type=int, default=8501, help="default 8501; 0 takes a free one")
    new.add_argument("--grpc-port", type=int, default=8500, help="default 8500; 0 takes a free one")
    new.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all")

    new = command(
        "check",
        _check,
        "check a version in a fresh process that knows only TensorFlow, and say what it requires and how fast it is",
        "check savedmodels/sentiment/1",
    )
    new.add_argument("version", help="a version's folder, with saved_model.pb")

    new = command(
        "predict",
        _predict,
        "answer the texts of a file, by a saved task or by an exported version",
        "predict savedmodels/sentiment/1 --input texts.jsonl --output answers.jsonl",
    )
    new.add_argument("folder", help="folder of a saved task or model, or a version's folder with saved_model.pb")
    _add_task_options(new)
    new.add_argument(
        "--input",
        required=True,
        metavar="F",
        help="one text a line (.txt), or records with the fields of the task's inputs (.jsonl, .csv, .tsv), also .gz",
    )
    new.add_argument("--output", required=True, metavar="F", help="written as one JSON object a line, in order")
    new.add_argument("--batch-size", type=int, default=32, help="texts computed at a time, default %(default)s")

    new = command(
        "explain",
        _explain,
        "write a report on a classifier, one HTML file: where it is wrong, which words count, and whether that is true",
        "explain work/sentiment/task --data validation.jsonl --report report.html\n"
        "explain work/sentiment/task --data test.jsonl --train train.jsonl --report report.html",
    )
    new.add_argument("folder", help="folder of a saved classifier, or of a model of Hugging Face's or KerasHub's")
    _add_task_options(new)
    new.add_argument("--data", required=True, metavar="F", help="labelled texts that it was not trained on")
    new.add_argument("--report", required=True, metavar="OUT.html", help="the file that is written")
    new.add_argument("--method", metavar="M", help="of the explanations, default occlusion")
    new.add_argument("--train", metavar="F", help="what it was trained on: shows the nearest texts of wrong answers")

    new = command("info", _info, "describe what a folder holds", "info work/sentiment/task\ninfo bert-base-cased")
    new.add_argument(
        "folder", help="folder of a saved task, of a model of Hugging Face's or KerasHub's, or of exported versions"
    )
    return parser


def _add_task_options(parser):
    parser.add_argument("--task", metavar="NAME", help="a task that the model is used for, such as ZeroShotClassifier")
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the task, such as pairs=true, windows=mean or 'prompt=query: '; may be given several times",
    )


def _settings(options):
    """`{name: value}` of `--setting`; a value is a JSON number, list, true, false or null, or else a text.

    Raises:
        InputError: one is not NAME=VALUE.
    """
    import json

    settings = {}
    for given in options.setting:
        name, found, value = given.partition("=")
        if not found or not name:
            raise InputError(f"--setting must be NAME=VALUE. Received: {given!r}.")
        settings[name] = value
        with contextlib.suppress(ValueError):
            parsed = json.loads(value)
            # "{}" is a text: no setting takes an object.
            settings[name] = value if isinstance(parsed, dict) else parsed
    return settings


def _load_task(folder, options):
    from kerasformer.tasks import load

    return load(folder, options.task, **_settings(options))


def _publish(options):
    precision = options.precision
    if options.int8 is not None and precision != "int8":
        raise InputError(f"--int8 needs --precision int8. Received: --precision {precision}.")
    if options.int8 == "storage":
        precision = "int8_storage"
    load_tensorflow()
    from kerasformer.serving.publishing import publish

    choices = []
    with doing(f"loading {options.folder}") as status:
        task = _load_task(options.folder, options)
        status(f"exporting and checking {type(task).__name__}")
        data = task.labelled_batches(options.data) if options.data else None
        version = publish(
            task,
            options.model,
            precision=precision,
            data=data,
            data_source=options.data,
            max_loss=options.max_loss,
            machine=options.machine,
            explain=options.explain,
            tell=choices.append,
        )
    print(*choices, version, sep="\n")


def _check(options):
    load_tensorflow()
    from kerasformer.serving.checking import check
    from kerasformer.serving.measuring import BATCH, speed

    with doing(f"checking {options.version}") as status:
        report = check(options.version)
        status(f"timing {options.version}")
        times = speed(options.version)
    print(f"{options.version} can be served by TensorFlow Serving {report.oldest_server} and later.")
    if report.needs_onednn:
        print("It requires an x86 processor and a TensorFlow built with oneDNN, for the operation _QuantizedMatMul.")
    if times is None:
        print("Not timed: no warmup request asks serving_default for texts.")
    else:
        print(f"On this machine: one text {times[0]:.1f} ms, a batch of {BATCH} {times[1]:.0f} ms.")
    print(
        f"{report.requests} warmup requests replayed; largest difference between a batch and one text: "
        f"{report.largest_difference:.1e}"
    )
    print_signatures(report.signatures)


def _info(options):
    folder = options.folder
    with read_locally(folder) as local:
        if (local / "saved_model.pb").is_file():
            load_tensorflow()
            from kerasformer.serving.session import describe, open_session

            with doing(f"loading {folder}"):
                session, signatures = open_session(local)
                session.close()
            print(f"{folder}: a SavedModel, {megabytes(local)}")
            print_signatures({name: describe(found) for name, found in signatures.items() if not name.startswith("__")})
            return
        versions = _versions(local)
        if versions:
            print(f"{folder}: a model with the versions {', '.join(map(str, versions))}")
            return
        _print_checkpoint(folder, local)


def _print_checkpoint(folder, local):
    """What a folder with a checkpoint or a saved task holds; its weights are not read."""
    import json

    load_tensorflow()
    from kerasformer.families import describe

    found = describe(local)
    settings = {}
    if "task" in found:
        settings = json.loads((local / "kerasformer.json").read_text(encoding="utf-8")).get("settings", {})
    print(f"{folder}: {found.pop('task', None) or found.get('architecture') or 'a checkpoint'}, {megabytes(local)}")
    obstacles = found.pop("obstacles")
    for name, value in (found | settings).items():
        print(f"  {name}: {shown(value)}")
    print("\n".join(f"  cannot be published: {reason}" for reason in obstacles) or "  can be published: yes")


def _versions(folder):
    from kerasformer.serving.preview.folders import find_versions

    return sorted(find_versions(folder))


def _predict(options):
    load_tensorflow()
    from kerasformer.serving.predicting import predict_file

    with progress(f"answering {options.input}") as advance:
        count = predict_file(
            options.folder,
            options.input,
            options.output,
            options.batch_size,
            lambda folder: _load_task(folder, options),
            advance,
        )
    print(f"{count} answers in {options.output}")


def _explain(options):
    load_tensorflow()
    import tensorflow as tf

    from kerasformer.explain.report import make_report
    from kerasformer.explain.report_page import write_report
    from kerasformer.files import writable_file

    tf.get_logger().setLevel("ERROR")  # each method is traced anew, as it must be
    target = writable_file(options.report, "--report")
    with doing(f"loading {options.folder}") as status:
        task = _load_task(options.folder, options)
        read = getattr(task, "labelled_examples", None)
        if read is None:
            raise InputError(f"A report is written on a TextClassifier. Received: a {type(task).__name__}.")
        report = make_report(
            task,
            read(options.data),
            name=os.path.basename(os.path.abspath(options.folder)),
            training=read(options.train) if options.train else None,
            tell=status,
            **({"method": options.method} if options.method else {}),
        )
        write_report(report, target)
    print(f"{target}: {len(report.found)} texts, {target.stat().st_size / 1e6:.1f} MB, {report.seconds:.0f} seconds")


def _serve(options):
    stop = threading.Event()

    def end(number, frame):
        stop.set()
        signal.signal(number, signal.SIG_DFL)  # a second one ends at once

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    _serve_until(options, stop)


def _serve_until(options, stop):
    from kerasformer.serving.preview.folders import find_models
    from kerasformer.serving.preview.ports import listen

    # The usual mistakes are reported before TensorFlow is imported, which takes seconds.
    find_models(options.folder)
    listen(options.host, options.rest_port, "--rest-port").close()
    listen(options.host, options.grpc_port, "--grpc-port").close()

    import logging

    load_tensorflow()
    import tensorflow as tf

    from kerasformer.serving.preview import PreviewServer

    tf.get_logger().setLevel("ERROR")
    logging.getLogger("waitress.queue").setLevel("ERROR")  # a full queue is normal: requests wait their turn

    def tell(line):
        print(line, file=sys.stderr, flush=True)

    server = PreviewServer(options.folder, options.rest_port, options.grpc_port, host=options.host, tell=tell)
    with doing(f"loading {options.folder}"):
        server.start()
    print("\n".join(server.describe()), flush=True)
    stop.wait()
    if not server.stop():
        # Threads of requests without an end are inside of TensorFlow, and would hold up the end of the process.
        sys.stderr.flush()
        os._exit(0)
