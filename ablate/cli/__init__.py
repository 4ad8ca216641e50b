"""The command line that every command shares: Hydra composes it, and each mistake is one line."""
