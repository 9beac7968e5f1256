"""Measures of saliency maps and class maps: numpy arrays in, floats out."""
