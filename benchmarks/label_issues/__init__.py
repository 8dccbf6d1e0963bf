"""How well the wrong labels of a data set are found."""
