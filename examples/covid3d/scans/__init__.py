"""Scans and masks: readers, geometry, intensities, preparation, splits, the store; phantoms."""
