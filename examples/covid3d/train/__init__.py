"""One training: batches, loss, network, schedule, loop."""
