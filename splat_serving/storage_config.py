"""The guide's name for the configuration of its Python database; it is in `guide/`."""

from splat_serving.guide.storage_config import ActivationLoader as ActivationLoader
from splat_serving.guide.storage_config import StorageConfig as StorageConfig
