"""What other frameworks need, one file each: each imports its framework, and nothing else does.

Nothing is imported here: ``from reweight.integrations.lightning import ...``.
"""
