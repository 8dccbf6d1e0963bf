"""Segmenting test scans, measuring, reporting; and the way to nnU-Net and back."""
