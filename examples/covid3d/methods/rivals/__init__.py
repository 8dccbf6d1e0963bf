"""What the paper's competitors consist of, on the same network, one method a file."""
