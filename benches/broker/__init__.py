"""What connections by the broker cost, and the taking of output: ``python -m benches.broker``."""
