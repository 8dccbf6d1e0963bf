"""Which of the masks that came with the scans are wrong."""
