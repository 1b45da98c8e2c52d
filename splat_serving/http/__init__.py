"""The activation server: routes, replies, guards."""
