"""What one reweighted training step costs, beside plain training and what others offer."""
