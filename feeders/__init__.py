"""The network: circuits read from OpenDSS, and the power flow on them."""
