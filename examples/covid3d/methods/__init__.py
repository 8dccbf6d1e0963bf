"""The rows of the tables, and what their rivals consist of."""
