"""The client: an `ActivationDatabase` over HTTP."""

from splat_serving.client.activation_client import DEFAULT_URL as DEFAULT_URL
from splat_serving.client.activation_client import ActivationClient as ActivationClient
