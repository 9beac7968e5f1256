"""Opacity and colours of cut-outs, computed from a saliency map and the photograph."""
