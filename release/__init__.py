"""What makes a release of the library: ``python -m release``, or ``make dist``."""
