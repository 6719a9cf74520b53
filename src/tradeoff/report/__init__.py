"""What a person looks at: figures and the terminal's table."""
