"""Cut-outs: alpha at the resolution of the photograph, and the colours of the foreground alone."""
