"""Single scans, slice by slice."""
