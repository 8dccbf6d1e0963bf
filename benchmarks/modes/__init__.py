"""What ``precision="training"`` and ``compile=True`` cost, and how far their scores are exact."""
