"""The protocol `ActivationDatabase`, its values, and the databases on this machine."""

from splat_serving.database.protocol import ActivationDatabase as ActivationDatabase
