"""The result of an investigation, and its rendering as text, pictures and pages."""
