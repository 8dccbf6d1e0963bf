"""The page: HTML, style, script, and tables in three formats."""
