"""A task's metrics in float32 and in int8.

python -m benchmarks.int8_metrics work/sentiment/task --typical train.jsonl --test test.jsonl
python -m benchmarks.int8_metrics all-mpnet-base-v2 --task TextEmbedder --typical pairs.jsonl --test others.jsonl
"""

import argparse

import keras

from benchmarks.measure import markdown_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="of a saved task, or of a checkpoint that is one")
    parser.add_argument("--task", help="see `kf.load`")
    parser.add_argument(
        "--typical", required=True, metavar="F", help="labelled examples, whose first 256 give the ranges"
    )
    parser.add_argument("--test", required=True, metavar="F", help="labelled examples")
    arguments = parser.parse_args()

    import kerasformer as kf
    from kerasformer.models import use_int8
    from kerasformer.serving.precision import plan_for

    task = kf.load(arguments.folder, arguments.task)
    test = task.labelled_batches(arguments.test)
    plan = plan_for(task, "int8", task.labelled_batches(arguments.typical))
    exact = kf.training.Trainer(task.replace(), keras.optimizers.SGD()).evaluate(test)
    use_int8(task.model, plan)
    found = kf.training.Trainer(task.replace(), keras.optimizers.SGD()).evaluate(test)
    rows = [[name, f"{value:.4f}", f"{found[name]:.4f}"] for name, value in exact.items()]
    print(markdown_table(["metric", "float32", "int8"], rows))
    print(
        f"\nlargest error of a projection: {max(plan.errors.values()):.3f}; in floats: {', '.join(plan.kept) or 'none'}"
    )


if __name__ == "__main__":
    main()
