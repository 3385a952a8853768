"""How a network that is no ``SpikingNetwork`` is called, and what its forward returns."""
