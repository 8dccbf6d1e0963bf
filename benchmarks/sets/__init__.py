"""Data sets with wrong labels, as tensors that a training takes."""
