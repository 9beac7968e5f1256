"""Own images and annotations -> list files, masks and a config."""
