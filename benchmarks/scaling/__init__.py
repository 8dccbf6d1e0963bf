"""How the time of a step grows with batches, parameters and depth."""
