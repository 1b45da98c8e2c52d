"""One module per page: its layout, from what stands in the URL."""
