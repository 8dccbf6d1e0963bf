"""What a scoring pass must leave alone."""
