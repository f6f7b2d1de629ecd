"""The bench: its load, its arithmetic and its files. No figure is asserted, only how it is made."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import chart
import environments
import figures
import load
import machine
import progress
import pytest
import report
from dialects import OPERATIONS, Caller, GraphQL, Rest
from figures import Figure, Round, Target
from lineup import LINEUP, chosen
from load import Plan, Tally
from report import Results

LOCKS = sorted(
    path
    for pattern in ("*/requirements.lock", "*/package-lock.json")
    for path in environments.CONTENDERS.glob(pattern)
)
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def plan(port: int, **changes: object) -> Plan:
    """Four connections that ask the same thing again and again for a moment."""
    usual = {
        "port": port,
        "connections": 4,
        "seconds": 0.2,
        "status": "200",
        "requests": [("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "right")],
        "again": True,
    }
    return Plan(**(usual | changes))  # type: ignore[arg-type]


async def drive(writes: list[bytes], **changes: object) -> tuple[Tally, int]:
    """What a load came to on a server that answers with these writes; how many requests it saw."""
    seen = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        while await reader.readline():
            while await reader.readline() != b"\r\n":
                pass
            seen += 1
            for part in writes:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        tally = await asyncio.to_thread(load.drive, plan(port, **changes))
    return tally, seen


async def test_the_load_counts_every_answer_once() -> None:
    """Head and body come apart, as from uvicorn."""
    tally, seen = await drive([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"right"])
    assert tally.answered == seen == len(tally.latencies) > 4
    assert tally.errors == 0
    assert tally.seconds >= 0.2
    assert all(latency > 0 for latency in tally.latencies)


async def test_the_load_reads_answers_in_chunks() -> None:
    parts = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nright\r\n0\r\n\r\n"]
    tally, seen = await drive(parts)
    assert (tally.answered, tally.errors) == (seen, 0)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 5\r\n\r\nright",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong",
    ],
    ids=["another status", "another body"],
)
async def test_the_load_counts_what_is_not_right_as_an_error(answer: bytes) -> None:
    tally, seen = await drive([answer])
    assert tally.errors == tally.answered == seen


async def test_what_can_be_sent_once_is_sent_once() -> None:
    requests = [(f"GET /{number} HTTP/1.1\r\n\r\n", "right") for number in range(7)]
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright"
    tally, seen = await drive([answer], requests=requests, again=False, seconds=5)
    assert (tally.answered, seen, tally.errors) == (7, 7, 0)
    assert tally.seconds < 5


def figure(**changes: float) -> Figure:
    """The figure of one round."""
    usual = {
        "requests_per_second": 100,
        "server_cpu_us": 50,
        "database_cpu_us": 10,
        "client_cpu_us": 5,
        "p50_ms": 1,
        "p99_ms": 2,
        "errors": 0,
        "core": 0.95,
        "memory_mb": 60,
    }
    return Figure.of([Round(**(usual | changes))])  # type: ignore[arg-type]


def test_a_round_is_what_was_answered_and_used() -> None:
    tally = Tally(answered=200, seconds=2, cpu=0.01, latencies=[1, 2, 3, 4, 100])
    seen = Round.of(tally, server_cpu=1, database_cpu=0.5, memory=70)
    assert seen == Round(
        requests_per_second=100,
        server_cpu_us=5000,
        database_cpu_us=2500,
        client_cpu_us=50,
        p50_ms=3,
        p99_ms=100,
        errors=0,
        core=0.5,
        memory_mb=70,
    )


def test_a_figure_is_the_median_of_rounds_and_all_their_errors() -> None:
    rounds = [
        Round(rate, 1, 1, 1, 1, 1, errors, 1, 1) for rate, errors in ((10, 1), (30, 0), (20, 2))
    ]
    seen = Figure.of(rounds)
    assert (seen.requests_per_second, seen.errors) == (20, 3)


@pytest.mark.parametrize(("core", "full"), [(0.99, True), (0.5, False)])
def test_a_throughput_with_an_idle_core_is_marked(core: float, full: bool) -> None:
    seen = figure(core=core)
    assert seen.core_full is full
    assert ("100 °" in report.row("other", seen, None)) is not full


def test_no_answer_is_no_division() -> None:
    seen = Round.of(Tally(), server_cpu=0, database_cpu=0, memory=1)
    assert (seen.requests_per_second, seen.p99_ms) == (0, 0)


@pytest.mark.parametrize(
    ("at_least", "bound", "met"), [(True, 2, True), (True, 2.1, False), (False, 2, True)]
)
def test_a_target_is_a_ratio(at_least: bool, bound: float, met: bool) -> None:
    target = Target("viewer", "requests_per_second", "other", bound, at_least=at_least)
    seen = {"ours": {"viewer": figure()}, "other": {"viewer": figure(requests_per_second=50)}}
    assert target.seen(seen) == 2
    assert target.is_met(2) is met
    assert target.seen({"ours": seen["ours"]}) is None


def test_every_target_is_about_a_contender_that_there_is() -> None:
    by_name = {contender.name: contender for contender in LINEUP}
    for target in figures.TARGETS:
        assert target.operation in by_name[target.other].operations
        assert hasattr(figure(), target.figure)


def results() -> Results:
    """Two contenders, one of which only looks."""
    ours = dict.fromkeys(OPERATIONS, figure())
    about = machine.describe(postgresql="18", node="v24")
    return Results(
        about, {"ours": ours, "<a&b>": {"viewer": figure()}}, {"go-rest": "no go"}, 5, 3, 1000
    )


def test_the_results_have_the_shape_that_others_read(tmp_path: Path) -> None:
    report.write(results(), tmp_path)
    written = json.loads((tmp_path / "results.json").read_text())
    asked = {
        "requests_per_second",
        "server_cpu_us",
        "database_cpu_us",
        "p50_ms",
        "p99_ms",
        "errors",
    }
    assert {"cores", "cpu", "memory_gb", "kernel", "python", "postgresql"} <= set(
        written["machine"]
    )
    assert list(written["contenders"]["ours"]) == ["viewer", "list", "create", "revoke"]
    for operations in written["contenders"].values():
        for seen in operations.values():
            assert asked <= set(seen)
            assert all(isinstance(seen[name], int | float) for name in asked)
    assert {"bound", "seen", "met"} <= set(written["targets"][0])


def test_sections_of_the_results_leave_each_other_alone(tmp_path: Path) -> None:
    report.add("memory", {"first_mb": 1.23456}, tmp_path)
    report.write(results(), tmp_path)
    report.add("scaling", {"by_cpu": 2}, tmp_path)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["memory"] == {"first_mb": 1.235}
    assert {"contenders", "scaling"} <= set(written)


def test_the_chart_is_well_formed_and_shows_everybody() -> None:
    drawn = chart.draw(results().contenders)
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"ours", "<a&b>"} <= set(texts)
    assert "prefers-color-scheme: dark" in drawn


def test_the_readmes_part_is_rewritten_and_nothing_else(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{report.BEGIN}\n\nold\n\n{report.END}\n\nafter\n")
    for _ in range(2):
        report.publish(results(), tmp_path, readme)
    text = readme.read_text()
    assert text.startswith("before\n\n")
    assert text.endswith("\n\nafter\n")
    assert "old" not in text
    assert "| **ours** | 100 | 50 |" in text
    assert "go-rest (no go)" in (tmp_path / "RESULTS.md").read_text()


def test_the_readme_has_a_part_to_rewrite() -> None:
    text = report.README.read_text()
    assert text.index(report.BEGIN) < text.index(report.END)


def test_every_contender_of_packages_has_a_lock() -> None:
    locked = {path.parent.name for path in LOCKS}
    assert locked == {c.name for c in LINEUP} - {"ours", "go-rest"} | {"_node"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.parent.name)
def test_a_lock_names_no_host_and_holds_every_package_to_a_hash(lock: Path) -> None:
    text = lock.read_text()
    assert not re.search(r"://|registry|\bwww\.", text)
    if lock.suffix == ".json":
        packages = [entry for path, entry in json.loads(text)["packages"].items() if path]
        assert packages
        assert all("integrity" in entry for entry in packages)
    else:
        packages = re.split(r"\n(?=\S)", text)
        assert all("==" in package and "--hash=sha256:" in package for package in packages)


def test_contenders_are_chosen_by_name() -> None:
    assert [contender.name for contender in chosen("mercurius, ours")] == ["ours", "mercurius"]
    assert len(chosen("")) == len(LINEUP)
    with pytest.raises(SystemExit, match="nobody"):
        chosen("ours,nobody")


@pytest.mark.parametrize("speaks", [GraphQL(), Rest(), Rest(cookie="sessionid")])
def test_requests_are_whole(speaks: GraphQL | Rest) -> None:
    """The length is the body's, and who calls is shown."""
    caller = Caller("u", "golden-lynx", "s", "shown")
    for request in (speaks.viewer(caller), speaks.list(caller), speaks.revoke(caller, "other")):
        head, _, body = request.text.partition("\r\n\r\n")
        length = re.search(r"Content-Length: (\d+)", head)
        assert int(length[1] if length else 0) == len(body.encode())
        assert "shown" in head
    assert "shown" not in speaks.create().text


@pytest.mark.skipif(not machine.PROC.exists(), reason="needs /proc")
def test_a_process_is_counted_with_its_children_also_when_they_have_ended() -> None:
    work = "import time; end = time.process_time() + 0.1\nwhile time.process_time() < end: pass"
    before = machine.cpu(os.getpid())
    with subprocess.Popen([sys.executable, "-c", work]) as child:
        assert child.pid in machine.tree(os.getpid())
        assert machine.resident(os.getpid()) > machine.resident(child.pid)
    assert machine.cpu(os.getpid()) - before >= 0.09
    assert machine.used(child.pid) == 0


def test_progress_is_told_in_plain_lines_where_nobody_watches(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINES_EVERY", 0)
    with progress.Progress(2) as steps:
        steps.step("first")
        steps.step("second")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "0/2" in lines[0]
    assert "\r" not in "".join(lines)
