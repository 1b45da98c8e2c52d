"""The tools over the Model Context Protocol: errors that an assistant can act on, bounded answers, one question at a time."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import anyio
import mcp.types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from pydantic import BaseModel, ValidationError

from splat_assets.errors import SplatError
from splat_assets.near_names import unknown_name
from splat_assets.store.documents import explained
from splat_serving.assistant.tools import READ_TOOLS, WRITE_TOOLS, Tool
from splat_serving.investigations.rendering import as_markdown
from splat_serving.investigations.result import Result
from splat_serving.investigations.subject import Subject

_log = logging.getLogger(__name__)
MOST_CHARACTERS = 20_000
_ROWS = (60, 30, 15, 8, 4, 2, 1)
_INSTRUCTIONS = """Investigate what the features of a sparse autoencoder respond to and do.
The way: about, list_features or find_builds, feature_overview, then experiments. Observed evidence (counted over all samples,
zeros included) tells what goes together; causal evidence (builds edited and run through the model) tells what does what. Never
call an observed difference a cause. Trust intervals and q, not single numbers; check with split-half and shuffle-null; prefer
causal cells whose builds are legal and near real ones. Say of a label what it rests on."""


class KeptSubject:
    """The subject of all questions: opened once, and again when a newer version is published."""

    def __init__(self, open_now: Callable[[], Subject]) -> None:
        self._open = open_now
        self._kept: Subject | None = None

    def current(self) -> Subject:
        """The subject of the version that is current."""
        found = self._open()
        if self._kept is not None and self._kept.about.version == found.about.version:
            found.close()
            return self._kept
        if self._kept is not None:
            self._kept.close()
        self._kept = found
        return found

    def close(self) -> None:
        """Let go of connections."""
        if self._kept is not None:
            self._kept.close()


def make_server(
    open_now: Callable[[], Subject], writes: bool = False, most_characters: int = MOST_CHARACTERS
) -> Server[Any]:
    """A server of the tools. open_now: opens the subject of the current version. writes: labels may be set, too."""
    tools = {tool.name: tool for tool in (*READ_TOOLS, *(WRITE_TOOLS if writes else ()))}
    kept = KeptSubject(open_now)
    one_at_a_time = anyio.Lock()

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(tool) for tool in tools.values()])

    async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        async with one_at_a_time:  # a newer version closes the subject that was kept: no question may still read it
            asked = partial(answer, kept, tools, params.name, params.arguments or {}, most_characters)
            return await anyio.to_thread.run_sync(asked)

    return Server(
        "splat", version=version("splat"), instructions=_INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool
    )


def answer(
    kept: KeptSubject, tools: dict[str, Tool], name: str, arguments: dict[str, Any], most_characters: int
) -> types.CallToolResult:
    """The answer of a tool, or one sentence on what is wrong with the question."""
    if name not in tools:
        return _refused(unknown_name("tool", name, tools))
    try:
        asked = tools[name].arguments.model_validate(arguments)
    except ValidationError as error:
        return _refused(_in_words(tools[name], error))
    try:
        found = tools[name].answer(kept.current(), asked)
    except SplatError as error:
        return _refused(str(error))
    except Exception as error:  # a fault of ours: the assistant is told that it is not its own
        if isinstance(error, OSError) and (sentence := explained(error)):
            return _refused(sentence)
        _log.exception("tool %s failed", name)
        return _refused(
            f"this is a fault of the tool, not of the question: {type(error).__name__}; the server's log has the rest"
        )
    bounded = within(found, most_characters)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=as_markdown(bounded)[:most_characters])],
        structured_content=bounded.model_copy(update={"figures": []}).model_dump(mode="json"),
    )


def within(result: Result, most_characters: int) -> Result:
    """The result with so few rows of each table that its Markdown is at most so long; a warning says what was left out."""
    for rows in _ROWS:
        tables = [table.model_copy(update={"rows": table.rows[:rows]}) for table in result.tables]
        cut = [
            f"{table.title} ({len(table.rows) - rows} of {len(table.rows)} rows)"
            for table in result.tables
            if len(table.rows) > rows
        ]
        told = (
            f"left out to keep this short: {'; '.join(cut)}. Ask with a smaller top_k, or of fewer things, to see others."
            if cut
            else ""
        )
        bounded = result.model_copy(
            update={"tables": tables, "warnings": [*result.warnings, *([told] if told else [])]}
        )
        if len(as_markdown(bounded)) <= most_characters:
            return bounded
    return bounded


async def serve_stdio(server: Server[Any]) -> None:
    """Answer one client on standard input and output until it goes."""
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


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
        return f"{tool.name} has no argument {place!r}; it has {_names(tool.arguments)}"
    if first["type"] == "missing":
        return f"{tool.name} needs the argument {place!r}; it has {_names(tool.arguments)}"
    return f"{tool.name}: {place}: {first['msg']}, not {first['input']!r:.80}"


def _names(arguments: type[BaseModel]) -> str:
    return ", ".join(arguments.model_fields) or "none"


def _refused(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)


def tool_names(tools: Sequence[Tool] = READ_TOOLS) -> list[str]:
    """The names of the tools, in order."""
    return [tool.name for tool in tools]
