"""What a notebook may use of the toolkit."""
