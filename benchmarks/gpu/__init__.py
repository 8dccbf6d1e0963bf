"""What a step costs on a GPU: one command, a few minutes, nothing to download."""
