"""YAML configs: loading, inheritance, checks."""
