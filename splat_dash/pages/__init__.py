"""One module per page: its layout, built from the URL."""
