"""The report's tables; a kind a file."""
