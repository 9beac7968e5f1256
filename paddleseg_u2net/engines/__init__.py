"""Inference engines behind one call, and the record of an exported folder."""
