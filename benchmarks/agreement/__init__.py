"""How well cheaper scores agree with the exact ones while a network trains."""
