"""Whether the fast mode trains as the exact scores do, as the only scorer."""
