"""What a program sees, reaches and can change on both levels of isolation."""

from __future__ import annotations

import inspect
import json
import os
import socket
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import resources
from harness.records import Limits
from harness.sandboxes import interior
from tests.sandbox_runs import FILE_BYTES, LEVELS, OUTPUT_BYTES, SMALL, Level, Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandboxes' tests look at Linux processes")


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
