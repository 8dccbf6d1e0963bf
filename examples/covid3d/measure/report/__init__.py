"""Stage ``report``: one self-contained HTML file, its pictures, and the metrics as CSV."""
