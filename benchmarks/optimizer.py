"""The optimizer that every system trains with: AdamW, gradients clipped by their global norm."""

LEARNING_RATE = 1e-4
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0
