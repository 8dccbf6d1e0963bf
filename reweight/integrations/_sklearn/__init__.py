"""What `ReweightedClassifier` is made of."""
