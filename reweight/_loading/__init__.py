"""Going through a user's loaders: where a pass stands, and how one is taken up again."""
