"""The routes of the server, one module per subject. They parse, query the database, and pass the result to `replies`."""
