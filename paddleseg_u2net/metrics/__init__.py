"""Measures of saliency maps and class maps: numpy in, floats out; accumulators with update, merge, compute."""
