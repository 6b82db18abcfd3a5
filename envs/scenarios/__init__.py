"""Days of base load, sun, weather and prices.

A scenario is one local calendar day, midnight to midnight, on one feeder:
what every load terminal draws and what its roof generates before any device
of the task acts, the outdoor temperature, and the tariff.
`build_scenarios` makes a year of them; `ScenarioSet` holds them.
"""
