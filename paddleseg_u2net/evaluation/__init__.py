"""Evaluation of a model on a data set, and of folders of saliency maps."""
