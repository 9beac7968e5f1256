"""Devices, ranks of a distributed run, optional packages."""
