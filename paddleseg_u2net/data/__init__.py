"""Pairs of image and mask, their decoding, inspection, preprocessing and order."""
