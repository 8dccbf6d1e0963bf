"""Trainings by task, row, learning rate and seed: made in several processes, kept, reported."""
