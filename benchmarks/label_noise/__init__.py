"""When weighting helps: accuracy under kinds of label noise, each method at its tuned rate."""
