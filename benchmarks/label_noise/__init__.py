"""Accuracy of every row under kinds of label noise."""
