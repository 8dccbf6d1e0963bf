"""What one reweighted step costs beside plain training on the same batch."""
