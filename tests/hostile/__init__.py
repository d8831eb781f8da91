"""What a peer or an environment that means harm can say, and that all it gets is an error."""
