"""Bad days: files damaged, processes killed, disks full. `make bad-days` runs it all.

After each, the same command goes on, if need be once it has said what is the matter, and the tables are in the end the
same bytes as those of an undisturbed study.
"""

import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from outcome import tables
from test_smoke import Tree, environment

from tradeoff.errors import UserError, command, logged
from tradeoff.parquet import read_parquet, write_parquet
from tradeoff.provenance import carded, sha256_file, write_json

KILLS = 10
PATIENCE = 3600  # seconds
SECRET = "hf_a-token-that-must-not-be-told"
RUN = "runs/tiny/shop_mini/sft/lr=1e-03/seed=0"


def damage(file: Path) -> None:
    """Changes one byte in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("spoil", [damage, truncate])
def test_a_file_that_is_not_what_its_card_says_is_set_aside_with_it(tmp_path, spoil):
    file, card = tmp_path / "a.bin", tmp_path / "a.json"
    file.write_bytes(bytes(1000))
    write_json(card, {"sha256": sha256_file(file)})
    assert carded(file) == file
    spoil(file)
    spoiled, told = file.read_bytes(), card.read_bytes()
    line = r"\A[^\n]*a\.bin: damaged or changed since a\.json [^\n]* a\.bin\.damaged and a\.json\.damaged: run again"
    with pytest.raises(UserError, match=line):
        carded(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin.damaged", "a.json.damaged"]
    assert (tmp_path / "a.bin.damaged").read_bytes() == spoiled
    assert (tmp_path / "a.json.damaged").read_bytes() == told


def test_a_file_that_is_not_there_yet_leaves_its_card(tmp_path):
    file, card = tmp_path / "a.bin", tmp_path / "a.json"
    file.write_bytes(bytes(1000))
    write_json(card, {"sha256": sha256_file(file)})
    file.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"\A[^\n]*a\.bin: not there, or not yet seen [^\n]*; run again[^\n]*\Z"):
        carded(file)
    (tmp_path / "elsewhere").rename(file)
    assert carded(file) == file


@pytest.mark.parametrize("spoil", [damage, truncate])
def test_a_damaged_table_is_set_aside(tmp_path, finished_samples, spoil):
    file = tmp_path / "samples.parquet"
    shutil.copy(finished_samples, file)
    assert read_parquet(file).num_rows > 0
    spoil(file)
    line = r"\A[^\n]*samples\.parquet: damaged \([^\n]*\) and set aside as samples\.parquet\.damaged; run again[^\n]*\Z"
    with pytest.raises(UserError, match=line):
        read_parquet(file)
    assert not file.exists()
    assert (tmp_path / "samples.parquet.damaged").exists()


def test_values_that_became_nulls_are_damage(tmp_path):
    """A flipped bit in the footer, which no checksum covers."""
    schema = pa.schema([pa.field("benchmark", pa.string(), nullable=False)])
    write_parquet(tmp_path / "samples.parquet", pa.table({"benchmark": ["a", None]}))
    with pytest.raises(UserError, match=r"samples\.parquet: damaged \(benchmark has nulls\) and set aside"):
        read_parquet(tmp_path / "samples.parquet", schema=schema)


TROUBLE = [
    OSError(errno.EIO, "Input/output error"),
    pa.ArrowMemoryError("malloc of size 64 failed"),
    pa.ArrowCancelled("Operation cancelled"),
]


@pytest.mark.parametrize("error", TROUBLE, ids=lambda error: type(error).__name__)
def test_a_table_that_cannot_be_read_for_another_reason_stays(tmp_path, finished_samples, monkeypatch, capsys, error):
    def busy(*_, **__):
        raise error

    monkeypatch.setattr(pq, "read_table", busy)
    with pytest.raises(type(error), match=str(error.args[-1])):
        read_parquet(finished_samples)
    assert finished_samples.exists()
    with pytest.raises(SystemExit) if isinstance(error, MemoryError) else pytest.raises(type(error)):
        command(lambda: read_parquet(finished_samples))
    told = "too little memory: malloc of size 64 failed; give the job more and run again\n"
    assert capsys.readouterr().err == (told if isinstance(error, MemoryError) else "")
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        read_parquet(tmp_path / "none.parquet")


@pytest.fixture
def finished_samples(tmp_path):
    file = tmp_path / "whole.parquet"
    draw = random.Random(0)
    write_parquet(file, pa.table({"text": [str(draw.random()) for _ in range(500)]}))
    return file


def script(log: Path, error: Exception) -> None:
    """As the workflow's scripts are."""
    with logged(str(log)):
        print("what it does")
        raise error


def test_a_script_on_a_full_disk_is_one_line_even_if_its_log_is_on_it_too(tmp_path, capsys):
    log = tmp_path / "script.log"
    log.symlink_to("/dev/full")
    with pytest.raises(SystemExit) as ended:
        script(log, OSError(errno.ENOSPC, "No space left on device", "tables/scores.parquet"))
    assert ended.value.code == 1
    assert re.fullmatch(r"[^\n]*No space left on device[^\n]*; nothing is lost\n", capsys.readouterr().err)


def test_a_fault_of_ours_keeps_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError):
        script(tmp_path / "script.log", ZeroDivisionError("division by zero"))
    assert (tmp_path / "script.log").read_text() == "what it does\ndivision by zero\n"


# --- the whole study ------------------------------------------------------------------------------------------------


class Study(Tree):
    """A small study, run as `make study` runs it."""

    def __init__(self, folder: Path, base: Path) -> None:
        super().__init__(folder, base)
        study = yaml.safe_load(self.study.read_text())
        study["methods"] = {name: study["methods"][name] for name in ("sft", "flow", "average")}
        study |= {"general": ["arithmetic_mini", "base_text"], "trajectory": []}
        study["training"]["epochs"] = 20
        self.study.write_text(yaml.safe_dump(study))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begins a call in a process group of its own."""
        command = [sys.executable, "-m", "tradeoff.alone", sys.executable, "-m", "snakemake", "--cores", "2"]
        return subprocess.Popen(
            [*command, "--configfile", "smoke.yaml", *arguments],
            cwd=self.folder,
            env=environment() | {"HF_TOKEN": SECRET, "PYTHONPATH": str(self.folder / "src")},
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def call(self, *arguments: str) -> tuple[int, str]:
        """One call of the command: its exit status, and what it printed."""
        running = self.start(*arguments)
        told, _ = running.communicate(timeout=PATIENCE)
        return running.returncode, told

    def fails(self) -> str:
        """A call that has to fail, without a traceback; what it printed."""
        status, told = self.call()
        assert status == 1, told[-3000:]
        assert "Traceback" not in told, told[-6000:]
        return told

    def goes_on(self) -> None:
        status, told = self.call()
        assert status == 0, told[-6000:]

    def goes_on_to(self, expected: dict[str, bytes]) -> None:
        """A call after which the tables are these."""
        self.goes_on()
        assert tables(self.results) == expected


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Study:
    made = Study(tmp_path_factory.mktemp("undisturbed"), tiny_base)
    made.goes_on()
    return made


@pytest.fixture(scope="module")
def expected(undisturbed: Study) -> dict[str, bytes]:
    return tables(undisturbed.results)


@pytest.fixture
def finished(undisturbed: Study, tmp_path: Path) -> Study:
    """A copy of the finished study."""
    return undisturbed.copied(tmp_path / "copy")


# What is damaged and how; what is not there, beside the tables, so that the damaged file is read.
FLOW = RUN.replace("/sft/", "/flow/")
OUTCOMES = [f"{RUN}/samples.parquet", "evaluations"]
TRAINED = [f"{RUN}/card.json", f"{RUN}/samples.parquet"]
DAMAGED = {
    "a delta": (damage, f"{RUN}/delta.safetensors", OUTCOMES),
    "half a delta": (truncate, f"{RUN}/delta.safetensors", OUTCOMES),
    "a base": (damage, "models/tiny/model/model.safetensors", TRAINED),
    "a tokenizer": (truncate, "models/tiny/model/tokenizer.json", TRAINED),
    "training examples": (damage, "data/shop_mini/train.jsonl", [*TRAINED, "data/shop_mini/tiny/tokens.json"]),
    "test items": (truncate, "data/shop_mini/test.jsonl", OUTCOMES),
    "tokens": (truncate, "data/shop_mini/tiny/tokens.parquet", TRAINED),
    "the base's losses": (
        damage,
        "data/shop_mini/tiny/base_nll.parquet",
        [f"{FLOW}/card.json", f"{FLOW}/samples.parquet"],
    ),
    "the base's text": (truncate, "models/tiny/base_text.parquet", OUTCOMES),
    "a run's samples": (truncate, f"{RUN}/samples.parquet", []),
    "prefixes": (truncate, "models/tiny/prefixes/shop_mini.parquet", []),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_file_is_told_and_made_anew(finished: Study, expected: dict[str, bytes], what: str) -> None:
    spoil, name, removed = DAMAGED[what]
    spoil(finished.results / name)
    for path in (finished.results / other for other in [*removed, "tables"]):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    told = finished.fails()
    assert any(f"{name}: " in line and "run again" in line for line in told.splitlines()), told[-3000:]
    finished.goes_on_to(expected)


@pytest.mark.slow
def test_damaged_outcomes_in_the_store_are_evaluated_again_at_once(finished: Study, expected: dict[str, bytes]) -> None:
    for file in (finished.results / "evaluations").rglob("*.parquet"):
        truncate(file)
    (finished.results / RUN / "samples.parquet").unlink()
    shutil.rmtree(finished.results / "tables")
    finished.goes_on_to(expected)


@pytest.mark.slow
def test_a_damaged_table_is_told_and_made_anew(finished: Study, expected: dict[str, bytes]) -> None:
    truncate(finished.results / "tables" / "scores.parquet")
    (finished.results / "report.html").unlink()
    assert "scores.parquet: damaged" in finished.fails()
    finished.goes_on_to(expected)


@pytest.mark.slow
def test_kills_of_everything_at_random_moments(tmp_path: Path, tiny_base: Path, expected: dict[str, bytes]) -> None:
    """The scheduler and all its jobs, by SIGKILL; Snakemake's lock is left behind each time."""
    study, draw = Study(tmp_path, tiny_base), random.Random(0)
    for _ in range(KILLS):
        running = study.start()
        time.sleep(draw.uniform(3, 40))
        os.killpg(running.pid, signal.SIGKILL)
        _killed(_working_in(study.folder))
        running.communicate()
    study.goes_on_to(expected)


@pytest.mark.slow
def test_kills_of_jobs_alone(tmp_path: Path, tiny_base: Path, expected: dict[str, bytes]) -> None:
    study, draw, killed = Study(tmp_path, tiny_base), random.Random(1), 0
    while killed < KILLS:
        running = study.start()
        time.sleep(draw.uniform(5, 25))
        killed += bool(_killed(_jobs_in(study.folder)))
        running.communicate(timeout=PATIENCE)
        if running.returncode == 0:  # it was over before its turn to be killed came
            shutil.rmtree(study.results)
    study.goes_on_to(expected)


@pytest.mark.slow
def test_a_kill_of_the_scheduler_alone(tmp_path: Path, tiny_base: Path, expected: dict[str, bytes]) -> None:
    """Its jobs are told to stop, and the next call goes on."""
    study = Study(tmp_path, tiny_base)
    running = study.start()
    time.sleep(25)
    (snakemake,) = _children(running.pid)
    os.kill(snakemake, signal.SIGKILL)
    told, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 128 + signal.SIGKILL, told[-3000:]
    assert not _working_in(study.folder)
    study.goes_on_to(expected)


@pytest.mark.slow
def test_two_calls_at_once(tmp_path: Path, tiny_base: Path, expected: dict[str, bytes]) -> None:
    study = Study(tmp_path, tiny_base)
    first = study.start()
    time.sleep(10)
    assert "another run is going on in this folder; wait for it, or stop it" in study.fails()
    told, _ = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0, told[-3000:]
    assert tables(study.results) == expected


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Mounts a file system at `results`, or mounts it again with other options."""
    results = tmp_path / "results"
    results.mkdir()

    def mount(options: str) -> None:
        again = "remount," if os.path.ismount(results) else ""
        subprocess.run(["mount", "-t", "tmpfs", "-o", again + options, "tmpfs", results], check=True)

    yield mount
    subprocess.run(["umount", "--lazy", results], check=True)


may_mount = pytest.mark.skipif(
    os.geteuid() != 0
    or subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode != 0,
    reason="only root may mount the small disk that this fills",
)


@pytest.mark.slow
@may_mount
@pytest.mark.parametrize(
    ("bad", "told", "good"),
    [
        *((f"size={n}k", "No space left on device", "size=1g") for n in (100, 300, 600, 900, 1400)),
        ("ro", "Read-only file system", "rw"),
    ],
)
def test_a_disk_that_is_full_or_cannot_be_written(
    tmp_path: Path,
    tiny_base: Path,
    expected: dict[str, bytes],
    disk: Callable[[str], None],
    bad: str,
    told: str,
    good: str,
) -> None:
    disk(bad)
    study = Study(tmp_path, tiny_base)
    assert told in study.fails()
    disk(good)
    study.goes_on_to(expected)


@pytest.mark.slow
def test_no_secret_is_told(undisturbed: Study) -> None:
    """A token in the environment is in no file that the study left."""
    for file in (path for path in undisturbed.folder.rglob("*") if path.is_file()):
        assert SECRET.encode() not in file.read_bytes(), file


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _working_in(folder: Path) -> list[int]:
    """Processes whose working folder is this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder.resolve():
                found.append(int(process.name))
        except OSError:  # it ended
            continue
    return found


def _jobs_in(folder: Path) -> list[int]:
    """Processes of jobs: they run our modules, as a shell or as Python."""
    found = []
    for pid in _working_in(folder):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if "tradeoff." in command and "tradeoff.alone" not in command and "snakemake" not in command:
            found.append(pid)
    return found


def _killed(processes: list[int]) -> list[int]:
    for pid in processes:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return processes
