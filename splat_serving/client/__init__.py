"""The client: an `ActivationDatabase` over HTTP."""

from splat_serving.client.async_client import AsyncActivationClient as AsyncActivationClient
from splat_serving.client.sync import ActivationClient as ActivationClient
