"""What one call does, in order."""
