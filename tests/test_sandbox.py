"""The sandbox: right programs pass, whatever else fails alone, and nothing leaves it."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, OrderedDict, namedtuple
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeoff.errors import UserError
from tradeoff.evaluation import _sandbox_child, sandbox
from tradeoff.evaluation._sandbox_child import Channel, Lost, Opaque, call_filter, decode, encode
from tradeoff.evaluation.sandbox import Limits, Problem, Verdict

ADD = Problem(
    prompt='def half(x):\n    return x // 2\n\n\ndef add(x, y):\n    """The sum."""\n',
    entry_point="add",
    test="def check(candidate):\n    assert candidate(1, 2) == 3\n    assert add(2, y=half(4)) == 4\n",
)
RIGHT = "def add(x, y):\n    return x + y\n"
# Tests that say what the function returned, as the detail of the verdict.
TELL = ADD._replace(test="def check(candidate):\n    raise ValueError(candidate(1, 2))\n")
LITTLE = Limits(cpu_seconds=1, memory_bytes=1 << 27)
IMPATIENT = Limits(wall_seconds=(1.0,))


def returns(body, problem=TELL):
    """What a function with that body returns, as text."""
    verdict = sandbox.run("def add(x, y):\n" + "".join(f"    {line}\n" for line in body.splitlines()), problem)
    assert verdict.outcome == "failed"
    assert verdict.detail.startswith("ValueError: "), verdict.detail
    return verdict.detail.removeprefix("ValueError: ")


def gone(pid):
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        (RIGHT, "passed"),
        ("add = lambda x, y: x + y", "passed"),
        ("from dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int'\n" + RIGHT, "passed"),
        ("class I(int):\n    pass\n\ndef add(x, y):\n    print('so')\n    return I(x + y)", "passed"),
        ("from fractions import Fraction\n\ndef add(x, y):\n    return Fraction(x + y)", "passed"),
        (RIGHT + "\nif __name__ == '__main__':\n    raise ValueError", "passed"),
        ("def add(x, y):\n    return x - y", "failed"),
        ("def add(x, y):\n    return str(x + y)", "failed"),
        ("def add(x):\n    return x", "failed"),
        ("def add(x, y):\n    return add(x, y)", "failed"),
        ("def added(x, y):\n    return x + y", "failed"),
        ("def add(x, y)\n    return x + y", "failed"),
        ("add\0", "failed"),
        ("'\ud800'", "failed"),
        ("(" * 1000, "failed"),
        ("-" * 100_000, "failed"),
        ("", "failed"),
    ],
)
def test_a_program_passes_if_its_function_is_right(program, outcome):
    assert sandbox.run(program, ADD).outcome == outcome


HOSTILE = {
    "exits": "import sys\ndef add(x, y):\n    sys.exit(0)",
    "exits below a right function": RIGHT + "import sys\nsys.exit(0)",
    "exits at once": "import os\nos._exit(0)",
    "exits at once when called": "import os\ndef add(x, y):\n    os._exit(0)",
    "says that memory ran out": "import os\nos._exit(1)",
    "calls exit": "def add(x, y):\n    exit()",
    "raises SystemExit": "def add(x, y):\n    raise SystemExit(0)",
    "raises what cannot be told": "class E(Exception):\n    __str__ = None\ndef add(x, y):\n    raise E",
    "kills the runner": "import os\ndef add(x, y):\n    os.kill(os.getppid(), 9)",
    "kills all": "import os\ndef add(x, y):\n    os.kill(-1, 9)",
    "has the kernel kill the runner": (
        "import fcntl, os, signal\nfor fd in range(20):\n    try:\n"
        "        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getppid()), fcntl.fcntl(fd, 10, signal.SIGKILL)\n"
        "        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_ASYNC)\n    except OSError: pass"
    ),
    "starves the runner": (
        "import os, resource\ndef add(x, y):\n    resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))"
    ),
    "kills itself": "import os\ndef add(x, y):\n    os.kill(os.getpid(), 9)",
    "aborts": "import os\ndef add(x, y):\n    os.abort()",
    "crashes": "import ctypes\ndef add(x, y):\n    ctypes.string_at(0)",
    "replaces the check": (
        "import builtins, sys\ndef check(candidate): pass\nbuiltins.check = check\n"
        "builtins.AssertionError = type(None)\ndef add(x, y):\n    sys.modules['__main__'].check = check"
    ),
    "forks": "import os\ndef add(x, y):\n    while True: os.fork()",
    "starts a program": "import subprocess\nsubprocess.run(['true'])\n" + RIGHT,
    "starts threads": "import threading\ndef add(x, y):\n    while True: threading.Thread(target=print).start()",
    "prints without end": "def add(x, y):\n    while True: print('x' * 1000)",
    "writes without end": "import os\ndef add(x, y):\n    while True: os.write(2, b'x' * 1000)",
    "closes its files": "import os\ndef add(x, y):\n    os.closerange(0, 100)",
    "closes its files and stays": "import os, time\nos.closerange(0, 100)\ntime.sleep(60)",
    "breaks the built-ins": "import builtins\nfor n in dir(builtins): setattr(builtins, n, None)",
    "breaks the codec": (
        "import json, sys\njson.dumps = lambda *_, **__: '[\"value\", true]'\n"
        "sys.modules['__main__'].encode = lambda _: True\ndef add(x, y): pass"
    ),
    "answers ahead": (
        'import os\nanswer = b\'["value",["int","3"]]\'\nfor fd in range(3, 30):\n    try:\n'
        "        for _ in range(9): os.write(fd, len(answer).to_bytes(8, 'big') + answer)\n    except OSError: pass"
    ),
    "answers nonsense": "import os\nfor n in range(3, 30):\n    try: os.write(n, b'x' * 99)\n    except OSError: pass",
    "runs at exit": "import atexit, os\natexit.register(os._exit, 0)\ndef add(x, y): pass",
    "catches signals": (
        "import signal\nfor s in signal.valid_signals():\n    try: signal.signal(s, lambda *_: None)\n"
        "    except (OSError, ValueError): pass\ndef add(x, y): signal.raise_signal(signal.SIGTERM)"
    ),
    "equals everything": (
        "class E:\n    __eq__ = lambda *_: True\n    __ne__ = lambda *_: False\ndef add(x, y): return E()"
    ),
    "equals as a number": (
        "class E(int):\n    __eq__ = lambda *_: True\n    __hash__ = None\n    __index__ = lambda _: 3\n"
        "def add(x, y): return E(9)"
    ),
    "lies about its class": "class E:\n    __class__ = int\ndef add(x, y): return E()",
    "returns too much": "def add(x, y): return 'x' * 10**7",
    "returns itself": "def add(x, y):\n    a = []\n    a.append(a)\n    return a",
    "raises limits": (
        "import resource\ndef add(x, y):\n    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\n    return x + y"
    ),
}


@pytest.mark.parametrize("program", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_program_fails(program, capfd):
    assert sandbox.run(program, ADD).outcome == "failed"
    assert capfd.readouterr() == ("", "")


def test_the_program_after_a_hostile_one_passes():
    for name in ("kills all", "has the kernel kill the runner", "closes its files", "breaks the built-ins", "forks"):
        sandbox.run(HOSTILE[name], ADD)
        assert sandbox.run(RIGHT, ADD) == Verdict("passed")


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("def add(x, y):\n    while True: pass", "timeout"),
        ("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", "timeout"),
        ("while True:\n    try: 1 / 0\n    except BaseException: pass", "timeout"),
        ("def add(x, y):\n    return [0] * 10**12", "out_of_memory"),
        ("def add(x, y):\n    found = []\n    while True: found.append('x' * 1000)", "out_of_memory"),
        ("found = []\nwhile True: found.append('x' * 1000)", "out_of_memory"),
        ("found = 'x'\nwhile True: found += found", "out_of_memory"),
    ],
)
def test_a_program_without_bounds_is_stopped(program, outcome):
    assert sandbox.run(program, ADD, LITTLE).outcome == outcome


def test_little_is_enough():
    assert sandbox.run(RIGHT, ADD, LITTLE) == Verdict("passed")


@pytest.mark.parametrize("wait", ["import time; time.sleep(99)", "import os; os.read(os.pipe()[0], 1)"])
def test_a_program_that_waits_is_out_of_time(wait):
    assert sandbox.run(f"def add(x, y):\n    {wait}\n", ADD, IMPATIENT).outcome == "timeout"


def test_a_right_program_on_a_busy_machine_gets_another_try():
    assert sandbox.run(RIGHT, ADD, Limits(wall_seconds=(0.001, 60.0))) == Verdict("passed")
    assert sandbox.run(RIGHT, ADD, Limits(wall_seconds=(0.001, 0.001))).outcome == "timeout"


def test_a_memory_error_that_is_dealt_with_is_none():
    program = "def add(x, y):\n    try: [0] * 10**12\n    except MemoryError: return x + y"
    assert sandbox.run(program, ADD) == Verdict("passed")


# What a program cannot reach


ATTEMPTS = [
    "os.remove(file)",
    "open(file, 'w')",
    "open(file, 'a')",
    "open(file, 'r+')",
    "open(folder + '/new', 'x')",
    "open('here', 'w')",
    "os.open(folder, os.O_TMPFILE | os.O_RDWR)",
    "os.truncate(file, 0)",
    "os.chmod(file, 0)",
    "os.chown(file, 1, 1)",
    "os.utime(file, (0, 0))",
    "os.rename(file, file + '2')",
    "os.link(file, folder + '/new')",
    "os.symlink(file, folder + '/new')",
    "os.mkdir(folder + '/new')",
    "os.mkfifo(folder + '/new')",
    "os.setxattr(file, 'user.a', b'b')",
    "shutil.rmtree(folder)",
    "shutil.copy(file, folder + '/new')",
    "sqlite3.connect(folder + '/new').execute('create table a (b)')",
]


def test_no_file_is_changed(tmp_path):
    file = tmp_path / "kept"
    file.write_text("as it was")
    before = file.stat()
    body = f"""
import os, shutil, sqlite3
file, folder, done = {str(file)!r}, {str(tmp_path)!r}, []
for attempt in {ATTEMPTS}:
    try: done.append((eval(attempt), attempt))
    except Exception: pass
return done"""
    assert returns(body) == "[]"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert file.read_text() == "as it was"
    assert (file.stat().st_mode, file.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_there_is_no_network():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        port = server.getsockname()[1]
        connect = f"import socket\ntry: socket.create_connection(('127.0.0.1', {port}))"
        assert returns(f"{connect}\nexcept OSError: return 'no'") == "no"
        with pytest.raises(TimeoutError):
            server.accept()


def test_the_environment_is_empty_and_ours_is_out_of_reach(monkeypatch):
    monkeypatch.setenv("SECRET", "told to nobody")
    assert returns("import os\nreturn dict(os.environ)") == "{}"
    assert "SECRET" not in returns("return open('/proc/self/environ').read()")
    # What a process has been started with is in /proc for whoever may trace it.
    landlock = _sandbox_child._libc.syscall(_sandbox_child.LANDLOCK_CREATE_RULESET, None, 0, 1) > 0
    if os.getuid() == 0 or landlock:
        read = "open(f'/proc/{os.getppid()}/environ').read()"
        assert returns(f"import os\ntry: return {read}\nexcept PermissionError: return 'no'") == "no"


def test_no_other_package_can_be_imported():
    assert returns("try: import yaml\nexcept ImportError: return 'no'") == "no"


def test_the_working_folder_is_empty_and_removed():
    folder, inside = returns("import os\nreturn os.getcwd() + '|' + str(os.listdir())").split("|")
    assert inside == "[]"
    assert not Path(folder).exists()


def test_processes_and_files_are_gone_afterwards():
    open_before = os.listdir("/proc/self/fd")
    pid, group, session = map(int, returns("import os\nreturn f'{os.getpid()} {os.getpgrp()} {os.getsid(0)}'").split())
    assert pid == group == session != os.getpid()
    assert gone(pid)
    sandbox.run("import time\ntime.sleep(99)", ADD, IMPATIENT)
    assert len(os.listdir("/proc/self/fd")) == len(open_before)
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def test_nothing_goes_on_when_the_runner_is_killed(tmp_path):
    run = f"sandbox.run('import time; time.sleep(99)', sandbox.Problem(*{tuple(ADD)}))"
    code = f"from tradeoff.evaluation import sandbox; {run}"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as runner:
        children = Path(f"/proc/{runner.pid}/task/{runner.pid}/children")
        while len(pids := children.read_text().split()) < 2 or not all(map(confined, pids)):
            time.sleep(0.02)
        runner.kill()
    until = time.monotonic() + 10
    while not all(map(gone, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    assert all(map(gone, pids))


def confined(pid):
    return "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text()


# The same every time, and only where it is safe


def test_runs_repeat():
    body = "import random\nreturn [*{'a', 'b', 'c', 'd', 'e'}, random.random()]"
    assert returns(body) == returns(body)
    drawn = TELL._replace(test="import random\ndef check(candidate):\n    raise ValueError(random.random())\n")
    assert returns("pass", drawn) == returns("pass", drawn) == str(random.Random(0).random())


@pytest.mark.parametrize("machine", [("darwin", "arm64"), ("linux", "riscv64")])
def test_a_machine_that_cannot_confine_is_refused(machine, monkeypatch):
    monkeypatch.setattr(sandbox.sys, "platform", machine[0])
    monkeypatch.setattr(sandbox.os, "uname", lambda: SimpleNamespace(machine=machine[1]))
    with pytest.raises(UserError, match="needs Linux"):
        sandbox.run(RIGHT, ADD)


@pytest.mark.parametrize("role", ["solver", "tests"])
def test_a_kernel_that_cannot_confine_is_refused_before_the_program_runs(role, monkeypatch, tmp_path):
    child = _sandbox_child.__file__
    lacking = f"if sys.argv[1] == {role!r}: _sandbox_child.PR_SET_NO_NEW_PRIVS = 9999\n"
    script = f"import sys\nsys.path.insert(0, {os.path.dirname(child)!r})\nimport _sandbox_child\n{lacking}"
    (tmp_path / "child.py").write_text(script + "_sandbox_child.main()\n")
    monkeypatch.setattr(_sandbox_child, "__file__", str(tmp_path / "child.py"))
    with pytest.raises(UserError, match=r"Linux with seccomp.*Invalid argument.*leave out"):
        sandbox.run(f"open({str(tmp_path / 'ran')!r}, 'w')", ADD)
    time.sleep(0.1)
    assert not (tmp_path / "ran").exists()


def test_a_sandbox_that_does_not_start_is_no_wrong_program(monkeypatch, tmp_path):
    (tmp_path / "child.py").write_text("import sys\nsys.exit('no way')\n")
    monkeypatch.setattr(_sandbox_child, "__file__", str(tmp_path / "child.py"))
    with pytest.raises(RuntimeError, match="did not start: no way"):
        sandbox.run(RIGHT, ADD)


CALLS = {  # socket, clone, execve, kill, unlinkat, prlimit64, read, openat, fcntl
    "x86_64": ([41, 56, 59, 62, 263, 302, 0x40000000], 0, 257, 72),
    "aarch64": ([198, 220, 221, 129, 35, 261], 63, 56, 25),
}


@pytest.mark.parametrize("machine", CALLS)
def test_the_filter_allows_what_it_says(machine):
    program = call_filter(machine)
    refused, read, openat, fcntl = CALLS[machine]

    def verdict(call, *arguments, audit=_sandbox_child.MACHINES[machine]):
        words = {0: call, 4: audit, **{16 + 8 * i: a for i, a in enumerate(arguments)}}
        at = register = 0
        while True:
            operation, if_true, if_false, operand = program[at]
            at += 1
            if operation == _sandbox_child.RETURN:
                return operand
            if operation == _sandbox_child.LOAD:
                register = words[operand]
            else:
                holds = register == operand if operation == _sandbox_child.EQUAL else register & operand
                at += if_true if holds else if_false

    allow, no = _sandbox_child.ALLOW, _sandbox_child.NOT_PERMITTED
    assert verdict(read) == allow
    assert verdict(read, audit=0x40000003) == _sandbox_child.KILL
    assert {verdict(call) for call in refused} == {_sandbox_child.NOT_THERE}
    assert verdict(openat, 0, 0, os.O_RDONLY | os.O_CLOEXEC) == allow
    assert {verdict(openat, 0, 0, flag) for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC)} == {no}
    assert [verdict(fcntl, 0, command) for command in (3, 8, 10)] == [allow, no, no]


# Plain data

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.binary() | st.characters()
    | st.text(st.characters()) | st.fractions()
)  # fmt: skip
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
PLAIN = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip


def spelled(value):
    """A text that tells types throughout, nan and the sign of 0, and not a set's order."""
    kind = type(value).__name__
    if isinstance(value, set | frozenset):
        return f"{kind} {sorted(map(spelled, value))}"
    if isinstance(value, list | tuple):
        return f"{kind} {[*map(spelled, value)]}"
    if isinstance(value, dict):
        return f"{kind} {[*map(spelled, value.items())]}"
    return f"{kind} {value!r}"


def sent(value):
    """What comes out of a pipe."""
    reading, writing = os.pipe()
    channel = Channel([reading, writing], 60_000)
    try:
        channel.send(encode(value))
        return decode(channel.receive())
    finally:
        channel._reader.close()
        channel._writer.close()


@settings(deadline=None)
@given(PLAIN)
def test_plain_data_come_back_as_they_were(value):
    assert spelled(sent(value)) == spelled(value)


def test_huge_numbers_and_adjacent_surrogates_come_back():
    assert sent(10**20_000) == 10**20_000
    assert sent("\ud800\udc00") == "\ud800\udc00"


class Colour(IntEnum):
    RED = 1


class Name(str):
    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, 1),
        (Name("a"), "a"),
        (namedtuple("P", "x y")(1, 2), (1, 2)),
        (OrderedDict(a=1), {"a": 1}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (bytearray(b"a"), b"a"),
        (Decimal("0.5"), Fraction(1, 2)),
    ],
)
def test_subclasses_become_plain(value, plain):
    found = sent(value)
    assert (type(found), found) == (type(plain), plain)


@pytest.mark.parametrize("value", [object(), len, range(3), iter([1]), Decimal("nan"), type])
def test_what_is_not_plain_equals_nothing(value):
    (found,) = sent([value])
    assert isinstance(found, Opaque)
    assert found != value
    assert found != found
    assert bool(found) is bool(value)
    assert not sent(range(0))


@pytest.mark.parametrize(
    "message",
    [b"", b"\0" * 7, (2**40).to_bytes(8, "big"), (9).to_bytes(8, "big") + b"[", (2).to_bytes(8, "big") + b"[[",
     (1).to_bytes(8, "big") + b"\xff", (50_000).to_bytes(8, "big") + b"[" * 50_000],
)  # fmt: skip
def test_nonsense_is_taken_for_the_end(message):
    reading, writing = os.pipe()
    os.write(writing, message)
    channel = Channel([reading, os.open(os.devnull, os.O_WRONLY)], 60_000)
    os.close(writing)
    with pytest.raises(Lost):
        channel.receive()


def test_errors_keep_their_built_in_class():
    handler = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background
    raises = "def check(candidate):\n    try: candidate(1, 2)\n    except {}: return\n"
    for body, caught in [("[].pop()", "IndexError"), ("b'\\xff'.decode()", "RuntimeError"), ("quit()", "NameError")]:
        problem = ADD._replace(test=raises.format(caught))
        assert sandbox.run(f"def add(x, y):\n    {body}\n", problem) == Verdict("passed")
    # A test that expects any exception is not content with a process that is gone.
    problem = ADD._replace(test=raises.format("Exception"))
    assert sandbox.run("import os\ndef add(x, y):\n    os._exit(0)\n", problem).outcome == "failed"
    assert signal.getsignal(signal.SIGINT) is handler
