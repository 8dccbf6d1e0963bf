"""Worked examples, each a package with a command line."""
