"""What every room uses: the one error that is the user's, and files that are never half-written."""
