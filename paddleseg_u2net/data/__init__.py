"""Pairs of image and mask: listing, decoding, inspection, preprocessing, sampling."""
