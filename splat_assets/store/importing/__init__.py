"""Making a store of a folder of the guide's formats."""
