"""What every investigation returns, and how it becomes text, pictures and pages."""
