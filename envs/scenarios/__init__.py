"""Days of base load, sun, weather and prices."""
