"""What the meta-step costs and when it helps, as commands anyone can run."""
