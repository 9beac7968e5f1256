"""How good maps are: numpy in, floats out; accumulators with update, merge, compute."""
