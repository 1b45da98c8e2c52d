"""Tools for assistants: each asked by the protocol's own client; errors that help; bounded answers; no writing unasked."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from splat_assets.store.layout import DataRoot
from splat_serving.investigations.assistant.server import make_server
from splat_serving.investigations.assistant.tools import READ_TOOLS, WRITE_TOOLS
from splat_serving.investigations.experiment import experiment_names
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.results.result import Result

ASKED: dict[str, dict[str, Any]] = {
    "about": {},
    "list_features": {"limit": 3},
    "feature_overview": {"feature_id": 1},
    "compare_features": {"left": 1, "right": 2},
    "list_experiments": {},
    "describe_experiment": {"name": "family-sweep"},
    "run_experiment": {"name": "family-sweep", "settings": {"feature_id": 1, "family": "swim_speed_up", "n_builds": 6}},
    "find_builds": {"rule": "ssu>=6 and not ninja_squid"},
    "contrast_builds": {"left": "ssu>=6", "right": "iss>=6", "top_k": 3},
    "trace_build": {"build": "0: ssu 21, ninja_squid"},
    "show_sample": {"sample_id": 5},
    "suggest_label": {"feature_id": 1},
    "show_label": {"feature_id": 1},
    "set_label": {"feature_id": 1, "text": "swims", "rule": "ssu>=6", "notes": "rises with each rung"},
}


def conversation(root: DataRoot, talk: Callable[[Client], Any], **options: Any) -> Any:
    """What a client in the same process hears from a server of the small run."""

    async def talking() -> Any:
        async with Client(make_server(lambda: open_subject("small", root=root), **options)) as client:
            return await talk(client)

    return asyncio.run(talking())


def test_every_tool_is_called_in_these_tests() -> None:
    assert list(ASKED) == [tool.name for tool in (*READ_TOOLS, *WRITE_TOOLS)]


@pytest.mark.parametrize("name", ASKED)
def test_every_tool_answers_in_text_and_in_structure(name: str, own_root: DataRoot) -> None:
    found = conversation(own_root, lambda client: client.call_tool(name, ASKED[name]), writes=True)

    assert not found.is_error, found.content[0].text
    assert found.content[0].text.startswith("# ")
    assert Result.model_validate(found.structured_content).provenance.run == "small"


def test_a_label_is_written_only_where_that_was_allowed(own_root: DataRoot) -> None:
    async def talk(client: Client) -> Any:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        return tools, await client.call_tool("set_label", ASKED["set_label"])

    tools, refused = conversation(own_root, talk)
    assert set(tools) == {tool.name for tool in READ_TOOLS}
    assert all(tool.annotations.read_only_hint for tool in tools.values())
    assert refused.is_error and "tool 'set_label' does not exist" in refused.content[0].text
    assert not own_root.labels.exists()

    tools, written = conversation(own_root, talk, writes=True)
    assert not written.is_error and not tools["set_label"].annotations.read_only_hint
    with open_subject("small", root=own_root) as subject:
        event = subject.labels.label(1)
    assert event is not None and event.label is not None and (event.label.text, event.author) == ("swims", "assistant")

    async def twice(client: Client) -> Any:
        blind = await client.call_tool("set_label", ASKED["set_label"] | {"text": "jumps"})
        return blind, await client.call_tool("set_label", {"feature_id": 1, "text": "jumps", "based_on": 1})

    blind, seen = conversation(own_root, twice, writes=True)
    assert blind.is_error and "has a label, revision 1 by assistant" in blind.content[0].text
    assert not seen.is_error


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "another tool": ("feature_overvew", {}, "did you mean feature_overview"),
    "an argument missing": ("feature_overview", {}, "feature_overview needs the argument 'feature_id'"),
    "an argument too many": ("feature_overview", {"feature_id": 1, "mood": 3}, "'mood' is not an argument of feature_overview"),
    "a text for a number": ("feature_overview", {"feature_id": "many"}, "feature_id: must be a number"),
    "a feature that is not there": ("feature_overview", {"feature_id": 9_999}, "it holds features 0 to 95"),
    "a negative one": ("feature_overview", {"feature_id": -1}, "greater than or equal to 0"),
    "another experiment": ("run_experiment", {"name": "family-swep"}, "did you mean family-sweep"),
    "a setting missing": ("run_experiment", {"name": "within-family", "settings": {"feature_id": 1}}, "family is missing"),
    "an ability that is not there": ("run_experiment", {"name": "within-family", "settings": {"feature_id": 1, "family": "swim"}},
                                     "ability 'swim' does not exist"),
    "a setting too many": ("run_experiment", {"name": "bands", "settings": {"feature_id": 1, "x": 1}}, "x is not a setting"),
    "no rule": ("find_builds", {"rule": "ssu>="}, "expected a number of AP"),
    "no build": ("trace_build", {}, "name a build or a sample_id"),
    "another column": ("list_features", {"sort": "beauty"}, "'beauty' is not a column"),
    "a sample that is not there": ("show_sample", {"sample_id": 10**9}, "is not in small"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_the_error_of_a_malformed_call_names_what_is_valid(case: str, finished_root: DataRoot) -> None:
    name, arguments, said = WRONG[case]

    found = conversation(finished_root, lambda client: client.call_tool(name, arguments))

    assert found.is_error
    text = found.content[0].text
    assert said in text
    assert "Traceback" not in text


def test_answers_are_bounded_and_say_what_was_left_out(finished_root: DataRoot) -> None:
    asked = {"name": "dose-sweep", "settings": {"feature_id": 1, "n_builds": 4}}

    whole = conversation(finished_root, lambda client: client.call_tool("run_experiment", asked), most_characters=10**6)
    short = conversation(finished_root, lambda client: client.call_tool("run_experiment", asked), most_characters=5_000)

    assert len(short.content[0].text) <= 5_000 < len(whole.content[0].text)
    assert "left out to keep the answer short" in short.content[0].text


def characters(reply: Any) -> int:
    """Of an answer as it is sent: text and structure."""
    return len(reply.model_dump_json(by_alias=True, exclude_none=True))


@pytest.mark.parametrize("most", [1_000, 3_000, 20_000])
def test_the_limit_counts_all_of_an_answer(most: int, own_root: DataRoot) -> None:
    async def talk(client: Client) -> Any:
        return {name: await client.call_tool(name, ASKED[name]) for name in ASKED}

    replies = conversation(own_root, talk, most_characters=most, writes=True)

    assert {name: characters(reply) for name, reply in replies.items() if characters(reply) > most} == {}
    assert not any(reply.is_error for reply in replies.values())
    for name, reply in replies.items():
        if most == 20_000:
            assert reply.structured_content is not None, name
            assert all(table["rows"] or name == "show_label" for table in reply.structured_content["tables"]), name


def test_the_limit_counts_what_is_wrong_with_a_question_too(finished_root: DataRoot) -> None:
    wrong = {"name": "family-sweep", "settings": {"\u00e9\n" * 20_000: 1}}

    refused = conversation(
        finished_root, lambda client: client.call_tool("run_experiment", wrong), most_characters=1_000
    )

    assert refused.is_error and characters(refused) <= 1_000


def test_settings_are_described_as_json_has_them(finished_root: DataRoot) -> None:
    async def talk(client: Client) -> Any:
        tools = (await client.list_tools()).tools
        asked = [{"name": name} for name in experiment_names()]
        return tools, [await client.call_tool("describe_experiment", one) for one in asked]

    tools, described = conversation(finished_root, talk, writes=True)

    for tool in tools:
        for name, field in tool.input_schema.get("properties", {}).items():
            assert field.get("description"), f"{tool.name}: {name}"
    for reply in described:
        (table,) = reply.structured_content["tables"]
        for name, kind, default, text in table["rows"]:
            assert re.match(r"(integer|number|string|boolean|null|list of|object|\"|true|false)", kind), (name, kind)
            assert default == "" or json.loads(default) is not ..., name
            assert text, name
        assert "<class" not in reply.content[0].text


def spoken(root: DataRoot, lines: list[str | dict[str, Any]]) -> list[dict[str, Any]]:
    """What the command answers to these lines, after which its input ends."""
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    ended = subprocess.run(
        [sys.executable, "-m", "splat_assets.cli", "mcp", "--run", "small"],
        input=text.rstrip("\n"), capture_output=True, text=True, env={**os.environ, "SPLAT_DATA": str(root.path)},
        timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def call(request: Any, name: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


def test_every_request_is_answered_also_the_last_before_the_input_ends(finished_root: DataRoot) -> None:
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    replies = spoken(
        finished_root,
        [
            {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            call("a", "about"),
            "no json",
            {"id": 7, "method": "tools/list"},
            {"jsonrpc": "2.0", "id": 8, "method": 9},
            {"jsonrpc": "2.0", "id": 10, "method": "no/such"},
            call(11, "find_builds", rule="ssu>=6"),
            call(12, "feature_overview", feature_id=1),
        ],
    )

    by_id = {reply["id"]: reply for reply in replies}
    assert set(by_id) == {1, "a", None, 7, 8, 10, 11, 12} and len(replies) == 8
    for request in ("a", 11, 12):
        assert by_id[request]["result"]["content"][0]["text"].startswith("# "), by_id[request]
    assert by_id[None]["error"]["code"] == -32700
    assert [by_id[request]["error"]["code"] for request in (7, 8, 10)] == [-32600, -32600, -32601]


def test_a_newer_version_is_seen(own_root: DataRoot) -> None:
    from splat_assets.store.published.publishing import publish

    async def talk(client: Client) -> Any:
        before = await client.call_tool("about", {})
        layout = own_root.run("small")
        (layout.staged / "idf.parquet").unlink()
        parts = {path.name: path for path in layout.staged.iterdir() if not path.name.startswith(".")}
        publish(layout.store, parts, dict(before_provenance), None)
        return before, await client.call_tool("about", {})

    with open_subject("small", root=own_root) as subject:
        before_provenance = subject.about.provenance
    before, after = conversation(own_root, talk)

    versions = [found.structured_content["provenance"]["store_version"] for found in (before, after)]
    assert versions[0] != versions[1]


def test_the_command_speaks_the_protocol_and_nothing_else(finished_root: DataRoot, tmp_path: Path) -> None:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "splat_assets.cli", "mcp", "--run", "small"],
        env={"SPLAT_DATA": str(finished_root.path)},
        cwd=tmp_path,
    )

    async def talking() -> Any:
        async with Client(command) as client:
            listed = await client.list_tools()
            return [tool.name for tool in listed.tools], await client.call_tool("feature_overview", {"feature_id": 1})

    names, found = asyncio.run(talking())

    assert names == [tool.name for tool in READ_TOOLS]
    assert not found.is_error and found.structured_content["kind"] == "overview"
