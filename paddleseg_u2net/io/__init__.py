"""Files, images, downloads and archives."""
