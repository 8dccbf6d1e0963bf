"""What a run is: stages in order, its folder and locks, its configuration, work in parallel."""
