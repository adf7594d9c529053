"""Several short sequences in the place of a long one, for models whose shapes must be static."""

import tensorflow as tf


def pack_sequences(rows):
    """Packs sequences into as few rows as possible: the longest first, each into the first row that has room for it
    (first-fit decreasing, Johnson 1973); in the graph.

    Args:
        rows: `{"token_ids": int32 [N, L], "length": int32 [N]}`.

    Returns:
        `{"token_ids": int32 [M, L], "length": int32 [M], "sequence": int32 [M, L]}`, M at most N: `sequence` numbers
        the sequences of a row from 1 on, 0 where there is none.
    """
    token_ids, lengths = rows["token_ids"], rows["length"]
    count, width = tf.unstack(tf.shape(token_ids))
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    lengths = tf.gather(lengths, order)

    def place(index, used, numbers, chosen, offsets, sequence):
        bin_index = tf.argmax(used + lengths[index] <= width, output_type=tf.int32)
        chosen, offsets = chosen.write(index, bin_index), offsets.write(index, used[bin_index])
        sequence = sequence.write(index, numbers[bin_index] + 1)
        used = tf.tensor_scatter_nd_add(used, [[bin_index]], [lengths[index]])
        return index + 1, used, tf.tensor_scatter_nd_add(numbers, [[bin_index]], [1]), chosen, offsets, sequence

    empty = tf.zeros([count], tf.int32)
    arrays = [tf.TensorArray(tf.int32, count) for _ in range(3)]
    _, used, _, chosen, offsets, sequence = tf.while_loop(
        lambda index, *_: index < count, place, (0, empty, empty, *arrays), parallel_iterations=1
    )
    chosen, offsets, sequence = chosen.stack(), offsets.stack(), sequence.stack()

    tokens = tf.sequence_mask(lengths, width)
    places = chosen[:, None] * width + offsets[:, None] + tf.range(width)
    places = tf.boolean_mask(places, tokens)[:, None]
    numbers = tf.boolean_mask(tf.broadcast_to(sequence[:, None], tf.shape(tokens)), tokens)
    number_of_rows = tf.math.count_nonzero(used, dtype=tf.int32)
    flat = [number_of_rows * width]

    def spread(values):
        return tf.reshape(tf.scatter_nd(places, values, flat), [number_of_rows, width])

    return {
        "token_ids": tf.ensure_shape(
            spread(tf.boolean_mask(tf.gather(token_ids, order), tokens)), [None, token_ids.shape[1]]
        ),
        "length": used[:number_of_rows],
        "sequence": tf.ensure_shape(spread(numbers), [None, token_ids.shape[1]]),
    }
