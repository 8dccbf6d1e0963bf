"""The audit: which of the given masks are wrong, and what is wrong with them."""
