"""The command line that all commands share. Hydra composes it; each user error is printed as one line."""
