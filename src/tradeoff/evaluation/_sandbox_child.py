"""The two children of a trial: `solver` runs a completion and answers calls, `tests` makes the calls and judges.

`sandbox` starts this file twice, by its path and without site-packages, so it imports the standard library alone. Both
children confine themselves first. They speak over two pipes in messages of limited length, of plain data only: nothing
of the completion but such data reaches the process that judges it.

What confines a child: resource limits; an empty environment; no capabilities, if it is root's; a seccomp filter; and,
where the kernel has it (5.13), Landlock without any right to write. The filter is a list of what is allowed, since the
calls that can hurt are many and grow with each kernel: memory, time, own signal handlers, and files opened for reading,
which imports need. So there is no way to make a socket, a process or a thread, to signal, trace or renice another
process, to raise a limit or to change the file system. A call that is not listed gives ENOSYS, at which the C library
takes an older one if it can; an argument that is refused gives EPERM. Landlock also hides the memory, environment and
open files of other processes, which /proc shows to processes of the same user; root's are hidden without it.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from types import ModuleType

TYPE_CHECKING = False  # not typing's own: to import that would take a sixth of the time in which a child starts
if TYPE_CHECKING:
    from typing import Any

# The exit status of a child whose memory ran out.
OUT_OF_MEMORY = 77


def main() -> None:
    """Reads the job from stdin, which then is /dev/null, and plays the role that the command line names."""
    job = json.load(sys.stdin)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, sys.stdin.fileno())
    try:
        {"solver": solve, "tests": judge}[sys.argv[1]](job, null)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Lost:
        pass
    os._exit(0)


def solve(job: dict[str, Any], null: int) -> None:
    """Runs the completion's program and answers calls of its function until the pipe ends.

    The first message tells that the process is confined, before any of the completion runs; the second that its program
    has run. Then each call, a pair of positional and named arguments, is answered by a value or an error.
    """
    os.close(null)
    channel = Channel(job["pipes"], job["message_bytes"])
    start = _confined(job)
    channel.send(start)
    if start[0] == "refused":
        return
    solution = ModuleType("solution")
    sys.modules["solution"] = solution  # dataclasses look their module up

    def load() -> None:
        _seed_random(job["program"])
        exec(_compiled(job["program"], "solution"), vars(solution))

    def call() -> Any:
        args, kwargs = arguments
        return getattr(solution, job["entry_point"])(*args, **kwargs)

    _answer(channel, load)
    while True:
        arguments = decode(channel.receive())
        _answer(channel, call)


def judge(job: dict[str, Any], null: int) -> None:
    """Runs the problem's tests against the solver and reports on what was stdout, two lines of JSON.

    The first is the solver's first message, so that a sandbox that could not be set up is never taken for a wrong
    completion. The second is `["passed"]` after the tests ran to their end, `["failed", why]`, or `["lost"]` if the
    solver went away.
    """
    report = os.dup(sys.stdout.fileno())
    os.dup2(null, sys.stdout.fileno())

    def tell(*line: str) -> None:
        os.write(report, json.dumps(line).encode() + b"\n")

    channel = Channel(job["pipes"], job["message_bytes"])
    start = _confined(job)
    if start[0] == "refused":
        tell(*start)
        return
    try:
        tell(*channel.receive())
        _value(channel.receive())
        _check(job, lambda *args, **kwargs: _call(channel, args, kwargs))
    except Lost:
        tell("lost")
    except MemoryError:
        raise
    except BaseException as error:
        tell("failed", f"{type(error).__name__}: {_words(error)}")
    else:
        tell("passed")


class Lost(BaseException):
    """The other side is gone or speaks nonsense. (No `Exception`, so that no test catches it.)"""


class Channel:
    """Messages of JSON, each after its length in 8 bytes, over a pair of pipes.

    Attributes:
        limit: Most bytes of a message.
    """

    def __init__(self, pipes: list[int], limit: int) -> None:
        reading, writing = pipes
        self._reader, self._writer = os.fdopen(reading, "rb"), os.fdopen(writing, "wb")
        self.limit = limit

    def send(self, message: Any) -> None:
        """Sends a message.

        Raises:
            ValueError: it exceeds the limit, and was not sent.
        """
        data = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if len(data) > self.limit:
            raise ValueError(f"a message of more than {self.limit} bytes")
        try:
            self._writer.write(len(data).to_bytes(8, "big") + data)
            self._writer.flush()
        except OSError:
            raise Lost from None

    def receive(self) -> Any:
        """The next message."""
        length = int.from_bytes(self._exactly(8), "big")
        if length > self.limit:
            raise Lost
        try:
            # Not with \u escapes, which would join two surrogates that a string has side by side.
            return json.loads(self._exactly(length).decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError):
            raise Lost from None

    def _exactly(self, count: int) -> bytes:
        data = self._reader.read(count)
        if len(data) < count:
            raise Lost
        return data


class Opaque:
    """Stands for a value that is no plain data: as true or false as that was, and equal to nothing."""

    def __init__(self, truth: bool, kind: str) -> None:
        self.truth, self.kind = truth, kind

    def __bool__(self) -> bool:
        return self.truth

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<a {self.kind}>"


def encode(value: Any) -> Any:
    """A value as JSON: None, booleans and strings as they are, all else as a pair of its type's name and its parts.

    Subclasses become the plain type. A fraction or decimal, which equals a number of the same value, becomes their
    exact ratio. Numbers are written in hexadecimal, which is exact and takes linear time.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return ["int", hex(value)]
    if isinstance(value, float):
        return ["float", float.hex(value)]
    if isinstance(value, complex):
        return ["complex", [value.real.hex(), value.imag.hex()]]
    if isinstance(value, bytes | bytearray):
        return ["bytes", value.hex()]
    for plain in (list, tuple, set, frozenset):
        if isinstance(value, plain):
            return [plain.__name__, [encode(item) for item in value]]
    if isinstance(value, dict):
        return ["dict", [[encode(key), encode(item)] for key, item in value.items()]]
    if type(value).__name__ in ("Fraction", "Decimal") and value - value == 0:  # a decimal may be infinite
        return ["ratio", [hex(number) for number in value.as_integer_ratio()]]
    return ["opaque", [bool(value), type(value).__name__]]


def decode(data: Any) -> Any:
    """The value that `encode` wrote.

    Raises:
        ValueError, TypeError: `encode` did not write that.
    """
    if data is None or isinstance(data, bool | str):
        return data
    kind, parts = data
    match kind:
        case "int":
            return int(parts, 16)
        case "float":
            return float.fromhex(parts)
        case "complex":
            return complex(*map(float.fromhex, parts))
        case "bytes":
            return bytes.fromhex(parts)
        case "list" | "tuple" | "set" | "frozenset":
            return getattr(builtins, kind)(map(decode, parts))
        case "dict":
            return {decode(key): decode(item) for key, item in parts}
        case "ratio":
            from fractions import Fraction

            return Fraction(*(int(number, 16) for number in parts))
        case "opaque":
            return Opaque(*parts)
    raise ValueError(f"no such kind: {kind}")


# The solver's and the tests' halves of a call


def _answer(channel: Channel, function: Callable[[], Any]) -> None:
    """Sends what the function returns or raises."""
    try:
        channel.send(["value", encode(function())])
    except (MemoryError, Lost):
        raise
    except BaseException as error:
        channel.send(["error", type(error).__name__, _words(error)])


def _call(channel: Channel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    channel.send(encode((args, kwargs)))
    return _value(channel.receive())


def _value(reply: Any) -> Any:
    """The value of a reply; an error is raised as the built-in exception of its name, or as RuntimeError."""
    match reply:
        case ["value", data]:
            return decode(data)
        case ["error", str(name), str(text)]:
            kind = getattr(builtins, name, None)
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise RuntimeError(f"{name}: {text}")
            try:
                error = kind(text)
            except TypeError:  # such as UnicodeDecodeError, which wants five arguments
                error = RuntimeError(f"{name}: {text}")
            raise error
    raise Lost


def _check(job: dict[str, Any], candidate: Callable[..., Any]) -> None:
    """Runs the problem's tests in a module that has the prompt's helpers, as some tests call them."""
    _seed_random(job["test"])
    names: dict[str, Any] = {"__name__": "tests"}
    exec(_compiled(job["prompt"] + "    pass\n", "prompt"), names)
    names[job["entry_point"]] = candidate
    exec(_compiled(job["test"], "tests"), names)
    names["check"](candidate)


def _compiled(source: str, name: str) -> Any:
    try:
        return compile(source, f"<{name}>", "exec", dont_inherit=True)
    except (MemoryError, RecursionError):  # what the parser raises where it is nested too deeply
        raise SyntaxError("nested too deeply") from None


def _seed_random(source: str) -> None:
    """Makes what is drawn at random the same in every run; importing `random` takes time, so only if it is used."""
    if "random" in source:
        import random

        random.seed(0)


def _words(error: BaseException) -> str:
    """The beginning of an error's message, whatever its own `__str__` does."""
    try:
        return str(error)[:200]
    except BaseException:
        return "an error without words"


# Confinement

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION = 0x20080522
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1 << 1, 1 << 2
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446
LANDLOCK_ASK_VERSION = 1
# Landlock's rights of its first version except to run (bit 0) and to read files and folders (bits 2 and 3).
LANDLOCK_WRITING = 0b1_1111_1111_0010

# Linux audit's number of each machine, and the numbers there of the calls that are allowed. A machine that came later
# never had the oldest calls (-).
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOWED = """
read 0 63, readv 19 65, pread64 17 67, preadv 295 69, lseek 8 62, write 1 64, writev 20 66,
close 3 57, close_range 436 436, dup 32 23, dup2 33 -, dup3 292 24, pipe 22 -, pipe2 293 59,
stat 4 -, lstat 6 -, fstat 5 80, newfstatat 262 79, statx 332 291, statfs 137 43, fstatfs 138 44,
access 21 -, faccessat 269 48, faccessat2 439 439, readlink 89 -, readlinkat 267 78, getdents 78 -, getdents64 217 61,
getcwd 79 17, chdir 80 49, fchdir 81 50, umask 95 166,
poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72, futex 202 98, sched_yield 24 124, sched_getaffinity 204 123,
mmap 9 222, munmap 11 215, mremap 25 216, mprotect 10 226, madvise 28 233, brk 12 214,
rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigpending 127 136, rt_sigtimedwait 128 137,
rt_sigsuspend 130 133, sigaltstack 131 132, pause 34 -, alarm 37 -, getitimer 36 102, setitimer 38 103,
nanosleep 35 101, clock_nanosleep 230 115, clock_gettime 228 113, clock_getres 229 114, gettimeofday 96 169,
time 201 -, times 100 153, restart_syscall 219 128, getcpu 309 168, getrandom 318 278,
getpid 39 172, getppid 110 173, gettid 186 178, getpgid 121 155, getpgrp 111 -, getsid 124 156,
getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177, getgroups 115 158, getresuid 118 148,
getresgid 120 150, getrusage 98 165, sysinfo 99 179, uname 63 160, exit 60 93, exit_group 231 94
"""
OPEN, OPENAT = "open 2 -", "openat 257 56"
FCNTL, IOCTL = "fcntl 72 25", "ioctl 16 29"
CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Duplicates and flags; not F_SETOWN and F_SETSIG, by which the kernel sends any signal to any process of the user.
FCNTL_COMMANDS = (0, 1, 2, 3, 4, 1030)
# Whether it is a terminal, its size, bytes that wait, and close-on-exec off and on.
IOCTL_COMMANDS = (0x5401, 0x5413, 0x541B, 0x5450, 0x5451)

# Instructions of classic BPF, and what a filter returns.
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, KILL = 0x7FFF0000, 0x80000000
NOT_PERMITTED, NOT_THERE = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS


def _confined(job: dict[str, Any]) -> list[str]:
    """Confines this process for good: `["confined"]`, or `["refused", why]` where the kernel cannot."""
    try:
        os.environ.clear()
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_NOFILE, 64)
        _limit(resource.RLIMIT_AS, job["memory_bytes"])
        _limit(resource.RLIMIT_FSIZE, job["output_bytes"])
        # A program that ignores the signal at the first limit is killed at the second.
        _limit(resource.RLIMIT_CPU, job["cpu_seconds"], job["cpu_seconds"] + 1)
        _drop_capabilities()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != job["parent"]:  # it ended before the line above
            os._exit(0)
        _prctl(PR_SET_DUMPABLE, 0)
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        _forbid_writing()
        _filter_calls()
    except OSError as error:
        return ["refused", str(error)]
    return ["confined"]


def _limit(kind: int, soft: int, hard: int | None = None) -> None:
    """Sets a limit, or keeps the one in force if that is lower."""
    most = resource.getrlimit(kind)[1]
    wanted = (soft, soft if hard is None else hard)
    resource.setrlimit(kind, wanted if most == resource.RLIM_INFINITY else (min(wanted[0], most), min(wanted[1], most)))


def _drop_capabilities() -> None:
    """Takes root's powers from a process of root, but for those to read any file: imports may need them."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    found = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, each twice
    _succeeded(_libc.capget(header, found))
    kept = found[1] & (CAP_DAC_OVERRIDE | CAP_DAC_READ_SEARCH)
    _succeeded(_libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept)))


def _forbid_writing() -> None:
    """Enters a Landlock domain without any right to write, where there is Landlock."""
    if _libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_long(0), LANDLOCK_ASK_VERSION) < 1:
        return
    handled = ctypes.c_uint64(LANDLOCK_WRITING)
    ruleset = _libc.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(handled), ctypes.c_long(ctypes.sizeof(handled)), 0)
    _succeeded(ruleset)
    _succeeded(_libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _filter_calls() -> None:
    machine = os.uname().machine
    if machine not in MACHINES:
        raise OSError(errno.ENOSYS, f"no filter of system calls for {machine}")
    code = b"".join(
        operation.to_bytes(2, sys.byteorder) + bytes((true, false)) + operand.to_bytes(4, sys.byteorder)
        for operation, true, false, operand in call_filter(machine)
    )

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    program = Program(len(code) // 8, code)
    _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))


def call_filter(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter as instructions: what it does, how many to skip if true and if false, and its operand.

    It reads the kernel's `seccomp_data`: the call's number at byte 0, the machine at 4, 8 bytes an argument from 16, of
    which the kernel looks at the lower half in the calls below.
    """
    arguments = range(16, 64, 8)
    rules = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, MACHINES[machine]), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    for number in _numbers(ALLOWED, machine):
        rules += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    for call, flags in ((OPEN, arguments[1]), (OPENAT, arguments[2])):
        for number in _numbers(call, machine):
            rules += [(EQUAL, 0, 4, number), (LOAD, 0, 0, flags), (ANY_BIT, 1, 0, CHANGING)]
            rules += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, NOT_PERMITTED)]
    for call, commands in ((FCNTL, FCNTL_COMMANDS), (IOCTL, IOCTL_COMMANDS)):
        for number in _numbers(call, machine):
            rules += [(EQUAL, 0, 2 * len(commands) + 2, number), (LOAD, 0, 0, arguments[1])]
            rules += [rule for one in commands for rule in ((EQUAL, 0, 1, one), (RETURN, 0, 0, ALLOW))]
            rules += [(RETURN, 0, 0, NOT_PERMITTED)]
    return [*rules, (RETURN, 0, 0, NOT_THERE)]


def _numbers(calls: str, machine: str) -> Iterable[int]:
    column = 1 + list(MACHINES).index(machine)
    return [int(call.split()[column]) for call in calls.split(",") if call.split()[column] != "-"]


_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int, more: int = 0) -> None:
    numbers = [ctypes.c_ulong(number) for number in (value, more, 0, 0)]
    _succeeded(_libc.prctl(option, *numbers))


def _succeeded(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main()
