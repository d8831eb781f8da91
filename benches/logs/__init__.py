"""How fast hosts take the log of their plugins: ``python -m benches.logs``."""
