"""The trusted gradient."""
