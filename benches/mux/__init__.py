"""What one multiplexed connection costs: ``python -m benches.mux``."""
