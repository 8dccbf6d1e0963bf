"""Numbers of the report, from the rows of ``metrics.csv``."""
