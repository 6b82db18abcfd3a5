"""Learning through the gradient of the environment."""
