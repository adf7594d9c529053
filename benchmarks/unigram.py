"""What the frequencies of word pieces alone give: the perplexity and accuracy that a pretrained BERT has to beat.

    python -m benchmarks.unigram --train 'books/*.txt.gz' --tokenizer work/pretrain_bert/task/tokenizer

Frequencies are counted in the training part, plus one for each piece, and judged on the held-out documents, as
`recipes/pretrain_bert.py` parts them.
"""

import argparse

import numpy as np

import kerasformer as kf


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", required=True)
    parser.add_argument("--tokenizer", required=True, help="folder of a saved tokenizer")
    parser.add_argument("--held-out", type=int, default=50, help="one in so many documents")
    parser.add_argument("--length", type=int, default=128)
    arguments = parser.parse_args()

    tokenizer = kf.text.WordPieceTokenizer.load(arguments.tokenizer)
    data = kf.data.PretrainingData([kf.data.Corpus(arguments.train, held_out=arguments.held_out)], tokenizer)
    special = [tokenizer.start_id, tokenizer.end_id, tokenizer.padding_id]

    def counts(held_out):
        total = np.zeros(tokenizer.vocabulary_size, np.int64)
        for features, _ in data.batches(64, arguments.length, held_out=held_out, shuffle=False):
            total += np.bincount(features["token_ids"].numpy().ravel(), minlength=total.size)
        total[special] = 0
        return total

    train, held_out = counts(False), counts(True)
    probabilities = (train + 1) / (train + 1).sum()
    perplexity = np.exp(-(held_out * np.log(probabilities)).sum() / held_out.sum())
    print(f"pieces: {train.sum():,} to count, {held_out.sum():,} held out")
    print(f"perplexity {perplexity:.1f}, a third of it {perplexity / 3:.1f}")
    commonest = train.argmax()
    share = held_out[commonest] / held_out.sum()
    print(f"accuracy of the commonest piece, {tokenizer.vocabulary[commonest]!r}: {share:.4f}")


if __name__ == "__main__":
    main()
