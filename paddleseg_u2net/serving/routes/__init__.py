"""What the server answers, one module per API; each adds its routes by `add_routes`."""
