"""The tools over the Model Context Protocol: actionable errors, answers of bounded length, one request at a time."""

import json
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from io import TextIOWrapper
from typing import Any

import anyio
import mcp.types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from pydantic import BaseModel, ValidationError

from splat_assets.distribution import installed_version
from splat_assets.errors import SplatError
from splat_assets.store.documents import explained
from splat_assets.text.wording import counted, unknown_name
from splat_serving.investigations.assistant import MOST_CHARACTERS
from splat_serving.investigations.assistant.tools import READ_TOOLS, WRITE_TOOLS, Tool
from splat_serving.investigations.results.rendering import as_markdown
from splat_serving.investigations.results.result import Result
from splat_serving.investigations.subject import Subject

_log = logging.getLogger(__name__)
_AROUND = 300
"""Characters of the message in which an answer is sent: its id, the server's name and version."""
_ROWS = (60, 30, 15, 8, 4, 2, 1)
_INSTRUCTIONS = """Investigate what the features of a sparse autoencoder respond to and what they do.
Order: about, list_features or find_builds, feature_overview, then experiments. Observed evidence (counted over all samples,
zeros included) shows associations; causal evidence (builds edited and run through the model) shows causes. Never call an
observed difference a cause. Trust intervals and q, not single numbers; check with split-half and shuffle-null; prefer causal
cells whose builds are legal and near real ones. State the evidence for every label."""


class KeptSubject:
    """The subject of all requests: opened once, and again when a newer version is published."""

    def __init__(self, open_now: Callable[[], Subject]) -> None:
        self._open = open_now
        self._kept: Subject | None = None

    def current(self) -> Subject:
        """The subject of the version that is current."""
        opened = self._open()
        if self._kept is not None and self._kept.about.version == opened.about.version:
            opened.close()
            return self._kept
        if self._kept is not None:
            self._kept.close()
        self._kept = opened
        return opened

    def close(self) -> None:
        """Let go of connections."""
        if self._kept is not None:
            self._kept.close()


def make_server(
    open_now: Callable[[], Subject], writes: bool = False, most_characters: int = MOST_CHARACTERS
) -> Server[Any]:
    """A server of the tools over the Model Context Protocol; `serve_stdio` runs it.

    Args:
        open_now: Opens the subject of the current version. It is called for each request, in a worker thread, one at a time; a
            subject of an older version is closed.
        writes: Whether labels may be set, too.
        most_characters: Size of one answer, as it is sent; longer ones lose rows, and a warning lists what was left out.

    Returns:
        A server whose tools answer errors of the request in one sentence; an internal error is logged and named as one.

    Examples:
        >>> make_server(lambda: subject).name
        'splat'
    """
    tools = {tool.name: tool for tool in (*READ_TOOLS, *(WRITE_TOOLS if writes else ()))}
    kept = KeptSubject(open_now)
    one_at_a_time = anyio.Lock()

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(tool) for tool in tools.values()])

    async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        async with one_at_a_time:  # a newer version closes the subject that was kept: no request may still read it
            request = partial(answer, kept, tools, params.name, params.arguments or {}, most_characters)
            return await anyio.to_thread.run_sync(request)

    return Server(
        "splat",
        version=installed_version(),
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def answer(
    kept: KeptSubject, tools: dict[str, Tool], name: str, arguments: dict[str, Any], most_characters: int
) -> types.CallToolResult:
    """The answer of a tool, or one sentence on what is wrong with the request; at most most_characters of JSON."""
    refused = partial(_cut, most_characters=most_characters, is_error=True)
    if name not in tools:
        return refused(unknown_name("tool", name, tools))
    try:
        checked = tools[name].arguments.model_validate(arguments)
    except ValidationError as error:
        return refused(_in_words(tools[name], error))
    try:
        result = tools[name].answer(kept.current(), checked)
    except SplatError as error:
        return refused(str(error))
    except Exception as error:  # a bug here, which the message does not blame on the assistant
        if isinstance(error, OSError) and (sentence := explained(error)):
            return refused(sentence)
        _log.exception("tool %s failed", name)
        return refused(f"internal error of the tool, not of your request: {type(error).__name__}; see the server's log")
    return within(result, most_characters)


def within(result: Result, most_characters: int) -> types.CallToolResult:
    """The result as text and as structure, both together of at most most_characters; a warning lists what was left out.

    Rows of tables go first, then the structure, and at last the end of the text.
    """
    for is_structured in (True, False):
        for rows in _ROWS:
            reply = _reply(_shortened(result, rows, is_structured), is_structured)
            if _characters(reply) <= most_characters:
                return reply
    return _cut(as_markdown(_shortened(result, _ROWS[-1], False)), most_characters)


def _shortened(result: Result, rows: int, is_structured: bool) -> Result:
    """The result with at most `rows` rows of each table; a warning lists what was left out."""
    tables = [table.model_copy(update={"rows": table.rows[:rows]}) for table in result.tables]
    cut = [
        f"{table.title} ({len(table.rows) - rows:,} of {counted(len(table.rows), 'rows')})"
        for table in result.tables
        if len(table.rows) > rows
    ]
    if not is_structured:
        cut.append("the structured form of this result")
    warnings = [f"left out to keep the answer short: {'; '.join(cut)}; use a smaller top_k or a narrower request"]
    return result.model_copy(update={"tables": tables, "warnings": [*result.warnings, *(warnings if cut else [])]})


def _reply(result: Result, is_structured: bool) -> types.CallToolResult:
    structure = result.model_copy(update={"figures": []}).model_dump(mode="json") if is_structured else None
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=as_markdown(result))], structured_content=structure
    )


def _cut(text: str, most_characters: int, is_error: bool = False) -> types.CallToolResult:
    """The text alone, cut to the allowed length."""
    kept = text[:most_characters]
    while True:
        shown = kept if kept == text else f"{kept} … (cut)"
        reply = types.CallToolResult(content=[types.TextContent(type="text", text=shown)], is_error=is_error)
        excess = _characters(reply) - most_characters
        if excess <= 0 or not kept:
            return reply
        kept = kept[: max(0, len(kept) - max(excess // 2, 20))]  # a character may be sent as two, or as six


def _characters(reply: types.CallToolResult) -> int:
    """Of the answer as it is sent, with all that is around it."""
    return len(reply.model_dump_json(by_alias=True, exclude_none=True)) + _AROUND


async def serve_stdio(server: Server[Any]) -> None:
    """Answer one client on standard input and output until its input ends and every request is answered."""
    conversation = _Conversation(TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace"))
    stdin: Any = conversation  # read line by line, and in no other way
    async with stdio_server(stdin=stdin) as (reading, writing):
        conversation.writing = writing
        await server.run(reading, conversation, server.create_initialization_options())


class _Conversation:
    """The lines of a client for the transport, and a stream for the answers to them, which sees which are still owed.

    The protocol's own loop drops requests in progress when the input ends, and does not answer lines that are not messages.
    """

    def __init__(self, lines: TextIOWrapper) -> None:
        self._lines = anyio.wrap_file(lines)
        self._owed: Counter[Any] = Counter()
        self._answered = anyio.Event()
        self.writing: Any = None

    async def __aiter__(self) -> AsyncIterator[str]:
        """Each line that is a message; ends once all requests are answered."""
        async for line in self._lines:
            try:
                message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
            except ValidationError:
                await self._refuse(line)
                continue
            if isinstance(message, types.JSONRPCRequest):
                self._owed[message.id] += 1
            elif isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
                self._settle((message.params or {}).get("requestId"))  # whoever cancels wants no answer
            yield line
        while self._owed:
            self._answered = anyio.Event()
            await self._answered.wait()

    async def send(self, sent: SessionMessage) -> None:
        """Pass an answer on."""
        await self.writing.send(sent)
        if isinstance(sent.message, types.JSONRPCResponse | types.JSONRPCError):
            self._settle(sent.message.id)

    async def aclose(self) -> None:
        """No answer comes any more."""
        self._owed.clear()
        self._answered.set()
        await self.writing.aclose()

    async def __aenter__(self) -> "_Conversation":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _settle(self, request: Any) -> None:
        if isinstance(request, str | int) and self._owed[request] > 1:
            self._owed[request] -= 1
        elif isinstance(request, str | int):
            del self._owed[request]
        self._answered.set()

    async def _refuse(self, line: str) -> None:
        """Answer a line that is not a message with what is wrong with it, to its id where it has one."""
        try:
            request_object = json.loads(line)
        except (ValueError, RecursionError):
            error = types.ErrorData(
                code=types.PARSE_ERROR, message="this line is not JSON: a message is one line of JSON"
            )
            await self._refused(None, error)
            return
        if isinstance(request_object, dict) and ("id" not in request_object) == ("method" in request_object):
            return  # a notification or an answer, which must not be answered
        request = request_object.get("id") if isinstance(request_object, dict) else None
        named = request if isinstance(request, str | int) and not isinstance(request, bool) else None
        text = (
            "this is not a JSON-RPC 2.0 request: an object with jsonrpc, id (a string or an integer), method and params"
        )
        await self._refused(named, types.ErrorData(code=types.INVALID_REQUEST, message=text))

    async def _refused(self, request: str | int | None, error: types.ErrorData) -> None:
        message = types.JSONRPCError(jsonrpc="2.0", id=request, error=error)
        await self.writing.send(SessionMessage(message))


def _described(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.arguments.model_json_schema(),
        annotations=types.ToolAnnotations(
            read_only_hint=not tool.writes,
            destructive_hint=False,
            idempotent_hint=not tool.writes,
            open_world_hint=False,
        ),
    )


def _in_words(tool: Tool, error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{place!r} is not an argument of {tool.name}; its arguments: {_names(tool.arguments)}"
    if first["type"] == "missing":
        return f"{tool.name} needs the argument {place!r}; its arguments: {_names(tool.arguments)}"
    return f"{tool.name}: {place}: {first['msg'].removeprefix('Value error, ')}, not {first['input']!r:.80}"


def _names(arguments: type[BaseModel]) -> str:
    return ", ".join(arguments.model_fields) or "none"
