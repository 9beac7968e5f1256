"""Import a user's own images, masks and annotations as a data set: list files, masks and a config."""
