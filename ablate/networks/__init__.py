"""Networks and their parts: norms, quantised convolutions, and what a plan must know of each network."""
