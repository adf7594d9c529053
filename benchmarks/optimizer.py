"""The optimizer that every system trains with: AdamW, gradients clipped by their global norm."""

LEARNING_RATE = 1e-4
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0
EPSILON = 1e-8  # small, since Keras scales it by the bias correction and PyTorch does not
