"""IPPO and MAPPO on RLlib: independent policies, stacked into one module."""
