"""The routes of the activation server, one module per subject. They parse, ask the database, and hand the answer to `replies`."""
