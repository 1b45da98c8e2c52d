"""What `uvicorn --http splat_serving.protocol:TimedProtocol` names; it is in `http/connection.py`."""

from splat_serving.http.connection import TimedProtocol as TimedProtocol
