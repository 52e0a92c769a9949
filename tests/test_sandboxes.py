"""What both levels of isolation promise: one suite, run on each with programs that try to break it."""

from __future__ import annotations

import inspect
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from harness import resources
from harness.errors import ImageFault, SandboxFault, UsageError
from harness.records import Execution, Limits, Mount, Sandbox
from harness.sandboxes import bubblewrap as bubblewrap_level
from harness.sandboxes import docker as docker_level
from harness.sandboxes import engine, interior, open_sandbox
from harness.sandboxes.bubblewrap import BubblewrapSandbox
from harness.sandboxes.docker import DockerSandbox, _running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandboxes' tests look at Linux processes")

LEVELS = [
    pytest.param(DockerSandbox, id="docker", marks=pytest.mark.docker),
    pytest.param(BubblewrapSandbox, id="bubblewrap"),
]
SMALL = Limits(timeout_seconds=30.0, memory_bytes=256 << 20, processes=16, threads=1)
FILE_BYTES = 8 << 20
OUTPUT_BYTES = 1000

Level = Callable[..., Sandbox]


@dataclass
class Run:
    execution: Execution
    log: str
    folder: Path


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """Runs a program with a job file, a log and an output of fixed size, as the harness mounts them."""

    def execute(level: Level, program: str, limits: Limits = SMALL, logged: bool = True, names: str = "") -> Run:
        folder = tmp_path / uuid.uuid4().hex
        folder.mkdir()
        (folder / "job.json").write_text('{"job": 1}')
        (folder / "weights").write_bytes(bytes(OUTPUT_BYTES))
        (folder / "log").touch()
        for name in ("weights", "log"):
            (folder / name).chmod(0o666)
        redirect = "import os\nlog = os.open('/out/log', os.O_WRONLY)\nos.dup2(log, 1)\nos.dup2(log, 2)\n"
        code = (redirect if logged else "") + textwrap.dedent(program)
        sandbox = level(command=("-P", "-c", code, names))
        mounts = [
            Mount(folder / "job.json", "/job/job.json"),
            Mount(folder / "weights", "/out/weights", writable=True),
            Mount(folder / "log", "/out/log", writable=True),
        ]
        execution = sandbox.execute(mounts, limits, FILE_BYTES)
        return Run(execution, (folder / "log").read_text(errors="replace"), folder)

    return execute


def processes_with(token: str) -> list[int]:
    """Processes of this machine, in any namespace, whose command line holds `token`."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if token.encode() in file.read_bytes() and int(file.parent.name) != os.getpid():
                found.append(int(file.parent.name))
        except OSError:
            continue
    return found


def containers(pid: int | None = None) -> list[str]:
    """Names of the containers of a harness process, this one by default; others may use the engine meanwhile."""
    owner = f"/{pid or os.getpid()}:"
    with engine.connect() as client:
        found = client.containers.list(all=True, filters={"label": "harness.owner"}, ignore_removed=True)
        return [str(c.name) for c in found if owner in c.labels["harness.owner"]]


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    until = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < until:
        time.sleep(0.05)
    return value


# How a program ends


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("code", [0, 1, 3, 125, 126, 127, 255])
def test_an_exit_code_is_the_programs_own(level: Level, code: int, run: Callable[..., Run]) -> None:
    execution = run(level, f"os._exit({code})").execution
    assert (execution.exit_code, execution.signal, execution.timed_out) == (code, None, False)
    assert not execution.out_of_memory


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("program", "number"),
    [
        ("import ctypes; ctypes.string_at(0)", signal.SIGSEGV),
        ("os.abort()", signal.SIGABRT),
        ("os.kill(os.getpid(), 9)", signal.SIGKILL),
        ("os.kill(os.getpid(), 15)", signal.SIGTERM),
    ],
)
def test_a_signal_is_told_from_an_exit(level: Level, program: str, number: int, run: Callable[..., Run]) -> None:
    execution = run(level, program).execution
    assert (execution.exit_code, execution.signal) == (None, number)
    assert not execution.timed_out
    assert not execution.out_of_memory


@pytest.mark.parametrize("level", LEVELS)
def test_the_deadline_ends_everything(level: Level, run: Callable[..., Run]) -> None:
    token = uuid.uuid4().hex
    program = f"""
        import signal, sys, time
        token = {token!r}
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                while True:
                    time.sleep(0.05)
                    os.pwrite(log, b'.', 0)
            time.sleep(1000)
        while True:
            pass
    """
    result = run(level, program, Limits(2.0, 256 << 20, 16, 1))
    assert result.execution.timed_out
    assert (result.execution.exit_code, result.execution.signal) == (None, None)
    assert 2.0 <= result.execution.wall_seconds < 120.0
    assert result.execution.cpu_seconds is not None
    assert result.execution.cpu_seconds > 0.2, "a busy program is not taken for one that got no time"
    assert processes_with(token) == []


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_goes_on_after_the_end(level: Level, run: Callable[..., Run]) -> None:
    token = uuid.uuid4().hex
    program = f"""
        import time
        token = {token!r}
        if os.fork() == 0:
            os.setsid()
            while True:
                time.sleep(0.01)
                os.pwrite(log, str(time.time()).encode(), 0)
        time.sleep(0.2)
    """
    result = run(level, program)
    assert result.execution.exit_code == 0
    assert processes_with(token) == []
    before = (result.folder / "log").read_bytes()
    time.sleep(0.3)
    assert before
    assert (result.folder / "log").read_bytes() == before


# Limits


def bomb(limit: int) -> str:
    return f"x = []\nwhile len(x) < {limit}: x.append(bytearray(os.urandom(1)) * (16 << 20))\n"


@pytest.mark.docker
def test_memory_is_capped_and_the_kill_is_seen(run: Callable[..., Run]) -> None:
    execution = run(DockerSandbox, bomb(1000)).execution
    assert execution.out_of_memory
    assert execution.signal == signal.SIGKILL


@pytest.mark.docker
def test_a_childs_memory_counts(run: Callable[..., Run]) -> None:
    execution = run(
        DockerSandbox, "if os.fork() == 0:\n    " + bomb(1000).replace("\n", "\n    ") + "\nos.wait()"
    ).execution
    assert execution.out_of_memory
    assert execution.exit_code == 0, "the parent ended well"


@pytest.mark.docker
def test_memory_and_time_are_measured(run: Callable[..., Run]) -> None:
    program = (
        bomb(6) + "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\ntime.sleep(0.3)"
    )
    execution = run(DockerSandbox, program).execution
    assert execution.peak_memory_bytes is not None
    assert 96 << 20 <= execution.peak_memory_bytes <= 256 << 20
    assert execution.cpu_seconds is not None
    assert 0.5 <= execution.cpu_seconds < 5.0


def test_address_space_is_capped_without_an_engine(run: Callable[..., Run]) -> None:
    result = run(BubblewrapSandbox, "x = []\nwhile True: x.append(bytes(1 << 40))")
    assert result.execution.exit_code == 1
    assert "MemoryError" in result.log
    assert not result.execution.out_of_memory
    assert result.execution.peak_memory_bytes is None
    assert result.execution.cpu_seconds is not None


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "spawn",
    [
        "if os.fork() == 0: time.sleep(60)",
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    ],
    ids=["fork", "thread"],
)
def test_processes_and_threads_are_capped(level: Level, spawn: str, run: Callable[..., Run]) -> None:
    program = f"""
        import threading, time
        for count in range(1000):
            try:
                {spawn}
            except (OSError, RuntimeError):
                break
        print(count, flush=True)
        os._exit(0)
    """
    result = run(level, program)
    assert result.execution.exit_code == 0
    assert 8 <= int(result.log) <= 16


@pytest.mark.parametrize("level", LEVELS)
def test_tmp_is_bounded(level: Level, run: Callable[..., Run]) -> None:
    program = f"""
        chunk, total = bytes(4 << 20), 0
        try:
            for number in range(1000):
                with open(f'/tmp/{{number}}', 'wb') as file:
                    total += file.write(chunk)
        except OSError as error:
            print(total, error.errno)
        try:
            with open('/tmp/0', 'r+b') as file:
                file.truncate({FILE_BYTES + 1})
        except OSError as error:
            print(error.errno)
    """
    result = run(level, program, Limits(60.0, 512 << 20, 16, 1))
    total, out_of_space, too_large = (int(word) for word in result.log.split())
    assert 0 < total <= interior.TMP_BYTES
    assert out_of_space == 28
    assert too_large == 27


@pytest.mark.docker
def test_the_number_of_files_is_bounded(run: Callable[..., Run]) -> None:
    program = """
        try:
            for number in range(100_000):
                os.close(os.open(f'/tmp/{number}', os.O_CREAT))
        except OSError as error:
            print(number, error.errno)
    """
    count, errno = (int(word) for word in run(DockerSandbox, program).log.split())
    assert count <= interior.TMP_FILES
    assert errno == 28


@pytest.mark.parametrize("level", LEVELS)
def test_descriptors_are_bounded(level: Level, run: Callable[..., Run]) -> None:
    program = """
        try:
            while True:
                last = os.open('/dev/null', os.O_RDONLY)
        except OSError as error:
            print(last, error.errno)
    """
    last, errno = (int(word) for word in run(level, program).log.split())
    assert last < interior.OPEN_FILES
    assert errno == 24


@pytest.mark.parametrize("level", LEVELS)
def test_a_flood_of_output_stays_inside(
    level: Level, run: Callable[..., Run], capfd: pytest.CaptureFixture[str]
) -> None:
    flood = """
        import os
        os.write(1, b'\\x1b[31mBOOM\\n')
        for descriptor in (1, 2):
            for _ in range(20):
                os.write(descriptor, b'x' * (1 << 20))
        with open('/out/log', 'wb', buffering=0) as file:
            try:
                while True:
                    file.write(b'y' * (1 << 20))
            except OSError as error:
                os._exit(error.errno)
    """
    result = run(level, flood, logged=False)
    assert result.execution.exit_code == 27, "EFBIG"
    assert (result.folder / "log").stat().st_size == FILE_BYTES
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


# What a program sees


def look_around(names: dict[str, Any]) -> dict[str, Any]:
    """Runs inside: everything that the tests below ask about."""
    import ctypes
    import os
    import resource
    import socket

    def errno_of(action: Callable[[], Any]) -> int:
        try:
            action()
        except OSError as error:
            return error.errno or -1
        return 0

    def tried(number: int, *arguments: int) -> int:
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) for a in arguments))
        return ctypes.get_errno() if result == -1 else 0

    def writing(path: str) -> int:
        return errno_of(lambda: os.close(os.open(path, os.O_WRONLY)))

    def creating(path: str) -> int:
        return errno_of(lambda: os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)))

    libc = ctypes.CDLL(None, use_errno=True)
    local = socket.socket(socket.AF_UNIX)
    searched = {
        "evaluation.txt",
        "calibration.txt",
        "docker.sock",
        ".git",
        "reference_pruners",
        "bundled",
        names["secret"],
    }
    seen = []
    for folder, folders, files in os.walk("/"):
        if folder == "/":
            folders[:] = [name for name in folders if name not in ("proc", "sys")]
        seen += [f"{folder}/{name}" for name in (*folders, *files) if name in searched]
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    interpreter = next(
        line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "python3" in line
    )
    return {
        "environment": dict(os.environ),
        "ids": [*os.getresuid(), *os.getresgid(), *os.getgroups()],
        "status": {name: value for name, value in status.items() if name.startswith(("Cap", "NoNew", "Seccomp"))},
        "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
        "visible": [path for path in names["paths"] if errno_of(Path(path).stat) == 0],
        "seen": seen,
        "processes": [int(path.name) for path in Path("/proc").glob("[0-9]*")],
        "devices": [path.name for path in Path("/dev").iterdir()],
        "sockets": {
            name: errno_of(lambda family=family, kind=kind: socket.socket(family, kind).close())  # type: ignore[misc]
            for name, family, kind in (
                ("tcp", 2, 1), ("udp", 2, 2), ("raw", 2, 3), ("tcp6", 10, 1), ("udp6", 10, 2),
                ("netlink", 16, 3), ("packet", 17, 3), ("vsock", 40, 1), ("algorithm", 38, 5), ("bluetooth", 31, 3),
            )
        },
        "abstract": errno_of(lambda: local.connect("\0" + names["abstract"])),
        "name_lookup": errno_of(lambda: socket.getaddrinfo("localhost.example.org", 80)),
        "calls": {
            name: tried(*arguments)
            for name, arguments in {
                "ptrace": (101, 0, 0, 0, 0),
                "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
                "process_vm_writev": (311, 1, 0, 0, 0, 0, 0),
                "io_uring_setup": (425, 1, 0),
                "keyctl": (250, 0, 0, 0, 0, 0),
                "add_key": (248, 0, 0, 0, 0, 0),
                "userfaultfd": (323, 0),
                "bpf": (321, 0, 0, 0),
                "mount": (165, 0, 0, 0, 0, 0),
                "umount2": (166, 0, 0),
                "fsopen": (430, 0, 0),
                "open_tree": (428, -100, 0, 0),
                "pivot_root": (155, 0, 0),
                "chroot": (161, 0),
                "unshare": (272, 0x10000000),
                "clone(CLONE_NEWUSER)": (56, 0x10000011, 0, 0, 0, 0),
                "clone3": (435, 0, 88),
                "setns": (308, 0, 0),
                "personality": (135, 0),
                "perf_event_open": (298, 0, 0, -1, -1, 0),
                "memfd_create": (319, 0, 0),
                "execveat": (322, -100, 0, 0, 0, 0),
                "pidfd_getfd": (438, 0, 0, 0),
                "open_by_handle_at": (304, 0, 0, 0),
                "kexec_load": (246, 0, 0, 0, 0),
                "init_module": (175, 0, 0, 0),
                "syslog": (103, 3, 0, 0),
                "setuid": (105, 0),
                "mknod": (133, 0, 0, 0),
                "shmget": (29, 0, 4096, 0o1600),
                "mq_open": (240, 0, 0, 0, 0),
                "modify_ldt": (154, 0, 0, 0),
                "clock_settime": (227, 0, 0),
            }.items()
        },
        "writing": {
            path: writing(path)
            for path in (
                "/job/job.json", "/opt/harness/sandbox/__init__.py", interpreter,
                "/proc/sys/kernel/core_pattern",
                "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger", "/proc/1/mem", "/sys/kernel/mm/ksm/run",
                "/etc/ld.so.cache",
            )
        },
        "creating": {
            path: creating(f"{path}/harness-new")
            for path in (
                "", "/job", "/out", "/opt/harness", "/opt/harness/sandbox", "/usr", "/usr/lib", "/etc", "/dev", "/root",
            )
        },
        "first_process": [
            name
            for name in ("fd", "root", "cwd", "environ", "maps", "ns/net")
            if errno_of(lambda name=name: os.close(os.open(f"/proc/1/{name}", os.O_RDONLY))) == 0  # type: ignore[misc]
        ],
        "through_first": errno_of(Path(f"/proc/1/root{names['paths'][0]}").stat),
        "nice": errno_of(lambda: os.nice(-5)),
        "hostname": os.uname().nodename,
    }  # fmt: skip


@pytest.fixture(scope="module")
def secret() -> Iterator[dict[str, Any]]:
    """Things of the host that nobody inside may find."""
    name = f"secret-{uuid.uuid4().hex}"
    places = [Path(f"/tmp/{name}"), Path.home() / f".{name}"]
    for place in places:
        place.write_text("secret")
        place.chmod(0o644)
    package = resources.resource("harness")
    paths = [
        *map(str, places),
        str(package),
        str(package.parent / ".git"),
        str(resources.bundled("text")),
        str(Path(__file__)),
    ]
    paths += [
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/etc/shadow-",
        "/var/log/dpkg.log.1",
        "/dev/vda",
        "/dev/kmsg",
    ]
    yield {"secret": name, "paths": paths, "abstract": name}
    for place in places:
        place.unlink()


_seen: dict[str, dict[str, Any]] = {}


@pytest.fixture(params=LEVELS)
def inside(request: pytest.FixtureRequest, run: Callable[..., Run], secret: dict[str, Any]) -> dict[str, Any]:
    """What `look_around` found on this level, once for all tests."""
    level = request.param
    if level.__name__ not in _seen:
        os.environ["OPENAI_API_KEY"] = "sk-secret"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("\0" + secret["abstract"])
            listener.listen()
            program = (
                "import json\nfrom collections.abc import Callable\nfrom pathlib import Path\nfrom typing import Any\n"
            )
            program += f"{inspect.getsource(look_around)}\nprint(json.dumps(look_around({secret!r})))"
            result = run(level, program)
        del os.environ["OPENAI_API_KEY"]
        assert result.execution.exit_code == 0, result.log
        _seen[level.__name__] = json.loads(result.log)
    return _seen[level.__name__]


def test_the_environment_is_an_allow_list(inside: dict[str, Any]) -> None:
    allowed = interior.environment(SMALL, "")
    added_by_level = {"HOSTNAME", "PWD"}
    assert set(inside["environment"]) - added_by_level == set(allowed)
    assert inside["environment"]["OMP_WAIT_POLICY"] == "passive"
    assert "sk-secret" not in str(inside["environment"])
    assert inside["hostname"] == "sandbox"


def test_the_user_is_not_root_and_has_no_capability(inside: dict[str, Any]) -> None:
    assert 0 not in inside["ids"]
    assert 65534 not in inside["ids"][:6], "nobody owns other things"
    status = inside["status"]
    assert {status[name].strip("0") for name in status if name.startswith("Cap")} == {""}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert inside["core"] == 0
    assert inside["nice"] != 0


def test_nothing_of_the_host_is_visible(inside: dict[str, Any]) -> None:
    assert inside["visible"] == []
    assert [path for path in inside["seen"] if "/site-packages/torch/" not in path] == []
    assert inside["through_first"] != 0
    assert max(inside["processes"]) < 50, "processes of the host"
    assert inside["first_process"] == [], "it may hold ways to the engine or the harness"
    assert not {"mem", "kmem", "kmsg", "sda", "vda", "fuse", "kvm", "vsock"} & set(inside["devices"])


def test_no_network_of_any_kind(inside: dict[str, Any]) -> None:
    assert all(inside["sockets"].values()), inside["sockets"]
    assert inside["abstract"] != 0, "a socket of the host's was reached"
    assert inside["name_lookup"] != 0


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64 system calls")
def test_dangerous_system_calls_are_refused(inside: dict[str, Any]) -> None:
    expected = dict.fromkeys(inside["calls"], 1) | {"clone3": 38}
    assert inside["calls"] == expected


def test_nothing_but_the_outputs_and_tmp_is_writable(inside: dict[str, Any]) -> None:
    assert [path for path, errno in inside["writing"].items() if errno == 0] == []
    assert [path for path, errno in inside["creating"].items() if errno == 0] == []


@pytest.mark.parametrize("level", LEVELS)
def test_an_output_is_the_same_file_whatever_is_tried(level: Level, run: Callable[..., Run]) -> None:
    program = f"""
        import socket
        path, results = '/out/weights', {{}}
        def attempt(name, action):
            try:
                action()
            except OSError as error:
                results[name] = error.errno
            else:
                results[name] = 0
        open('/tmp/own', 'wb').write(b'own')
        attempt('unlink', lambda: os.unlink(path))
        attempt('rename', lambda: os.rename(path, '/tmp/moved'))
        attempt('replace', lambda: os.replace('/tmp/own', path))
        attempt('symlink', lambda: os.symlink('/job/job.json', path))
        attempt('link', lambda: os.link(path, '/tmp/linked'))
        attempt('link back', lambda: os.link('/tmp/own', '/out/second'))
        attempt('swap', lambda: os.rename('/out/log', path))
        attempt('fifo', lambda: os.mkfifo('/out/fifo'))
        attempt('fifo in tmp', lambda: os.mkfifo('/tmp/fifo'))
        attempt('socket', lambda: socket.socket(socket.AF_UNIX).bind('/out/socket'))
        attempt('folder', lambda: os.mkdir('/out/folder'))
        attempt('sparse', lambda: os.truncate(path, 10 << 40))
        attempt('too long', lambda: os.truncate(path, {FILE_BYTES + 1}))
        attempt('far away', lambda: os.pwrite(os.open(path, os.O_WRONLY), b'x', 10 << 40))
        attempt('setuid', lambda: os.chmod(path, 0o6777))
        attempt('setuid by descriptor', lambda: os.fchmod(os.open(path, os.O_WRONLY), 0o4777))
        attempt('setgid by folder', lambda: os.chmod('weights', 0o2777, dir_fd=os.open('/out', os.O_RDONLY)))
        attempt('chown', lambda: os.chown(path, 0, 0))
        attempt('attribute', lambda: os.setxattr(path, 'user.x', b'y'))
        os.chmod('/tmp/own', 0o600)
        open(path, 'r+b').write(b'A' * {OUTPUT_BYTES})
        print(sorted(name for name, errno in results.items() if errno == 0))
    """
    result = run(level, program)
    assert result.execution.exit_code == 0, result.log
    assert result.log == "[]\n"
    found = (result.folder / "weights").lstat()
    assert stat.S_ISREG(found.st_mode)
    assert (found.st_nlink, found.st_size, found.st_uid) == (1, OUTPUT_BYTES, os.geteuid())
    assert (result.folder / "weights").read_bytes() == b"A" * OUTPUT_BYTES
    assert sorted(p.name for p in result.folder.iterdir()) == ["job.json", "log", "weights"]


@pytest.mark.parametrize("level", LEVELS)
def test_torch_computes_as_on_the_host(level: Level, run: Callable[..., Run]) -> None:
    question = "import torch; print(torch.backends.cpu.get_cpu_capability(), torch.__version__.split('+')[0])\n"
    program = question + "import transformers, safetensors, numpy, sandbox\nx = torch.eye(64) * 2\n"
    program += "torch.linalg.cholesky(x @ x), torch.linalg.eigh(x)\nprint(torch.get_num_threads(), sandbox.__name__)"
    outside = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    result = run(level, program, Limits(120.0, 2 << 30, 32, 1))
    assert result.log == outside.stdout + "1 sandbox\n"


# The harness's own side


@pytest.mark.parametrize("level", LEVELS)
def test_two_runs_at_once_do_not_meet(level: Level, run: Callable[..., Run]) -> None:
    results: list[Run] = []
    program = "import time\nopen('/tmp/mine', 'x')\nprint(len(os.listdir('/tmp')), flush=True)\ntime.sleep(1)"
    threads = [threading.Thread(target=lambda: results.append(run(level, program))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.log for result in results] == ["1\n", "1\n"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_harness_leaves_nothing(level: type, number: int, tmp_path: Path) -> None:
    token = uuid.uuid4().hex
    program = f"token = {token!r}\nimport time\ntime.sleep(300)"
    harness = f"""
        from {level.__module__} import {level.__name__}
        from harness.records import Limits
        {level.__name__}(command=("-P", "-c", {program!r})).execute([], Limits(), 1000)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(harness)],
        stderr=subprocess.PIPE,
        cwd=Path(resources.__file__).parent.parent,
    )
    try:
        assert wait_for(
            lambda: any(
                b"sleep(300)" in Path(f"/proc/{p}/cmdline").read_bytes()
                for p in processes_with(token)
                if p != process.pid
            )
        )
        process.send_signal(number)
        process.communicate(timeout=60)
        if level is DockerSandbox and number == signal.SIGKILL:
            assert containers(process.pid), "nobody was there to remove it"
            DockerSandbox()  # the next start does
        assert wait_for(lambda: processes_with(token) == [])
        if level is DockerSandbox:
            assert containers(process.pid) == []
    finally:
        process.kill()


@pytest.mark.parametrize("level", LEVELS)
def test_a_mount_that_cannot_work_is_refused_first(level: Level, tmp_path: Path) -> None:
    sandbox = level()
    closed = tmp_path / "closed"
    closed.touch(0o600)
    for source, target, writable in (
        (tmp_path / "missing", "/job/x", False),
        (tmp_path, "/out/folder", True),
        (tmp_path, "/etc", False),
        (tmp_path, "/job/../etc", False),
        *([(closed, "/job/closed", False)] if os.geteuid() == 0 else []),
    ):
        with pytest.raises(SandboxFault, match=r"\A[^\n]+\Z"):
            sandbox.execute([Mount(source, target, writable)], SMALL, 1000)


@pytest.mark.docker
def test_a_container_that_somebody_removes_is_our_fault(run: Callable[..., Run]) -> None:
    def remove() -> None:
        wait_for(containers)
        time.sleep(0.5)
        with engine.connect() as client:
            for name in containers():
                client.containers.get(name).remove(force=True)

    thread = threading.Thread(target=remove)
    thread.start()
    with pytest.raises(SandboxFault, match="removed"):
        run(DockerSandbox, "import time; time.sleep(60)")
    thread.join()


@pytest.mark.docker
def test_an_engine_that_dies_is_our_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        pytest.skip("the engine is not a local socket")
    proxy = socket.socket(socket.AF_UNIX)
    proxy.bind(str(tmp_path / "proxy"))
    proxy.listen(64)
    alive, connections = threading.Event(), list[socket.socket]()
    alive.set()

    def copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass

    def serve() -> None:
        while True:
            client, _ = proxy.accept()
            if not alive.is_set():
                client.close()
                return
            engine_side = socket.socket(socket.AF_UNIX)
            engine_side.connect(address.removeprefix("unix://"))
            connections.extend((client, engine_side))
            for pair in ((client, engine_side), (engine_side, client)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    def die() -> None:
        direct = docker.DockerClient(base_url=address)
        wait_for(lambda: _running and direct.containers.list(filters={"name": next(iter(_running))}))
        direct.close()
        time.sleep(0.5)
        alive.clear()
        (tmp_path / "proxy").unlink()
        for connection in connections:
            connection.shutdown(socket.SHUT_RDWR)

    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'proxy'}")
        threading.Thread(target=serve, daemon=True).start()
        sandbox = DockerSandbox(command=("-P", "-c", "import time; time.sleep(60)"))
        killer = threading.Thread(target=die)
        killer.start()
        with pytest.raises(SandboxFault, match=r"\Athe Docker engine failed[^\n]+\Z"):
            sandbox.execute([], SMALL, 1000)
        killer.join()
    assert containers(), "nobody could remove it"
    DockerSandbox()  # the next start does
    assert containers() == []


@pytest.mark.docker
def test_a_missing_image_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.sandboxes.image.image_tag", lambda: "harness-sandbox:never")
    with pytest.raises(ImageFault, match="harness sandbox build"):
        DockerSandbox().execute([], SMALL, 1000)
    with pytest.raises(ImageFault, match="harness sandbox build"):
        open_sandbox("auto")
    assert containers() == []


@pytest.mark.docker
def test_docker_is_what_auto_means_where_it_answers() -> None:
    assert open_sandbox("auto").isolation == "docker"
    with pytest.raises(SandboxFault, match="no runtime 'nowhere'"):
        open_sandbox("docker", "nowhere")


@pytest.mark.docker
def test_the_engine_keeps_what_it_accepts() -> None:
    assert "all limits read back" in docker_level.check()


def test_without_an_engine_auto_is_bubblewrap_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    sandbox = open_sandbox("auto")
    assert sandbox.isolation == "bubblewrap"
    assert BubblewrapSandbox.lacks in capsys.readouterr().err
    with pytest.raises(SandboxFault, match=r"\Ano Docker engine answers[^\n]+\Z"):
        open_sandbox("docker")


def test_where_neither_works_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setattr("harness.sandboxes.bubblewrap._find_bwrap", lambda: Path("/bin/false"))
    with pytest.raises(SandboxFault, match=r"\Ano Docker engine answers[^\n]+\Z"):
        open_sandbox("auto")


def test_a_library_for_filters_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    with pytest.raises(SandboxFault, match="libseccomp"):
        bubblewrap_level.check()


@pytest.mark.parametrize(("name", "runtime"), [("podman", None), ("bubblewrap", "runsc")])
def test_an_unknown_level_is_wrong_usage(name: str, runtime: str | None) -> None:
    with pytest.raises(UsageError):
        open_sandbox(name, runtime)
