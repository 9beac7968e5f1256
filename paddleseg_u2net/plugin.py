"""Import this and stock paddleseg code builds our networks, losses and transforms from a YAML by name."""

from paddleseg_u2net.builders import register

register()
