"""Set-up of the checkout: an environment with an engine, and a target. Standard library only."""
