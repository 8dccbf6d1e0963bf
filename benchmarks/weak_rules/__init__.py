"""Labels by rules, knowledge bases and other sources, weighed and learnt from."""
