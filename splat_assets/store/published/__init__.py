"""Published versions: publishing, opening, verifying, and which is newest."""
