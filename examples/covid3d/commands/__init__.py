"""The command line: commands, their options, and named settings."""
