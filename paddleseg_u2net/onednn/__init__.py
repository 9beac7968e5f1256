"""Training on a CPU through oneDNN: bindings, execution plans, and the network that uses them."""
