"""The HTTP server: prediction and cut-outs over a network, with limits on all that a request may cost."""
