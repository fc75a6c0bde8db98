"""What the Dockerfile says, and its steps played on this machine's own root: no daemon, and nothing of it is changed.

The base is this machine (a Debian), seen through an overlay in a mount namespace: what a step writes lies in a folder
that is removed. So ``apt-get`` and ``pip`` are the real ones. It takes root.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.namespaces import NamespacesRefusedError, hold_namespaces

DOCKERFILE = REPOSITORY / "Dockerfile"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ImageUnavailableError(Exception):
    """The steps cannot be played here."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word, and what follows, continued lines joined."""

    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.rest)


def instructions(text: str) -> list[Instruction]:
    """All instructions of a Dockerfile."""
    found, joined = [], ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") or not line.strip():
            continue
        joined += line.rstrip().removesuffix("\\")
        if line.rstrip().endswith("\\"):
            continue
        word, _, rest = joined.strip().partition(" ")
        found.append(Instruction(word, rest.strip()))
        joined = ""
    assert not joined, "the last line is continued"
    return found


class Image:
    """The Dockerfile's file system, its steps run one after the other.

    Args:
        arguments: build arguments; the others have the Dockerfile's defaults.
        packages: a folder of installed packages, which pip then need not install; None to have it install all.

    Raises:
        ImageUnavailableError: there is no leave to mount, or the packages of the system cannot be had.
    """

    def __init__(self, arguments: Mapping[str, str], packages: Path | None = None) -> None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None or shutil.which("unshare") is None:
            raise ImageUnavailableError("it takes root, apt-get and unshare")
        self.folder = Path(tempfile.mkdtemp(prefix="gloss-tune-image-", dir="/tmp"))
        for name in ("upper", "work", "root", "volumes"):
            (self.folder / name).mkdir()
        self.arguments = dict(arguments)
        self.environment = {"PATH": SYSTEM_PATH, "HOME": "/root"}
        if packages is not None:
            self.environment["PYTHONPATH"] = str(packages)
        self.user = "0:0"
        self.workdir = "/"
        self.entrypoint: list[str] = []
        layers = f"lowerdir=/,upperdir={self.folder}/upper,workdir={self.folder}/work"
        mount = f"mount --make-rprivate /; mount -t overlay overlay -o {layers} {self.folder}/root"
        try:
            self._holder = hold_namespaces("--mount", setup=f"{mount}; ")
        except NamespacesRefusedError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise ImageUnavailableError("no overlay can be mounted here") from None
        try:
            for instruction in instructions(DOCKERFILE.read_text()):
                self._play(instruction)
        except BaseException:
            self.close()
            raise

    def _play(self, instruction: Instruction) -> None:
        match instruction.word:
            case "ARG":
                name, _, default = instruction.rest.partition("=")
                self.arguments.setdefault(name, default)
            case "RUN":
                # what is configured for pip on this machine holds for its packages too
                pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
                ended = self.run(["/bin/sh", "-c", instruction.rest], env={**self.arguments, **pip})
                if ended.returncode and "apt-get" in instruction.rest:
                    raise ImageUnavailableError(f"apt-get cannot install here: {ended.stderr[-500:]}")
                assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
            case "COPY":
                *sources, target = instruction.words
                place = self.folder / "upper" / target.lstrip("/")
                for source in sources:
                    if (REPOSITORY / source).is_dir():
                        ignored = shutil.ignore_patterns("__pycache__")
                        shutil.copytree(REPOSITORY / source, place, ignore=ignored)
                    else:
                        place.mkdir(parents=True, exist_ok=True)
                        shutil.copy(REPOSITORY / source, place)
            case "ENV":
                for word in instruction.words:
                    name, _, value = word.partition("=")
                    self.environment[name] = value.replace("$PATH", self.environment["PATH"])
            case "USER":
                self.user = instruction.rest
            case "WORKDIR":
                self.workdir = instruction.rest
            case "ENTRYPOINT":
                self.entrypoint = json.loads(instruction.rest)
            case "FROM" | "CMD":
                pass
            case other:
                raise AssertionError(f"{other} is not played")

    def popen(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        volumes: Mapping[str, Path] | None = None,
        read_only: bool = False,
    ) -> subprocess.Popen[str]:
        """Start a command in the image, as its user, with folders mounted; the command's first process is number 1.

        Args:
            command: what to run.
            env: beside the image's.
            volumes: folders by where they are seen.
            read_only: whether all but the volumes may not be written to.
        """
        root = shlex.quote(str(self.folder / "root"))
        lines = [
            "set -e",
            "mount --make-rprivate /",
            f"mount --rbind /dev {root}/dev",
            f"mount -t tmpfs tmpfs {root}/tmp",
        ]
        for place, folder in (volumes or {}).items():
            lines += [f"mkdir -p {root}{place}", f"mount --bind {shlex.quote(str(folder))} {root}{place}"]
        if read_only:
            lines.append(f"mount -o remount,ro,bind {root}")
        become = f"--userspec={self.user} --groups={self.user.partition(':')[2]}"
        lines += [
            f"mount -t proc proc {root}/proc",
            f"exec chroot {become} {root} /usr/bin/env --chdir={self.workdir} {shlex.join(command)}",
        ]
        return subprocess.Popen(
            [
                "nsenter", f"--target={self._holder.pid}", "--mount",
                "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "\n".join(lines),
            ],
            env={**self.environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        volumes: Mapping[str, Path] | None = None,
        read_only: bool = False,
        timeout: float = 900,
    ) -> subprocess.CompletedProcess[str]:
        """As :meth:`popen`, to the end."""
        process = self.popen(command, env=env, volumes=volumes, read_only=read_only)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(list(command), process.returncode, stdout, stderr)

    def close(self) -> None:
        """Remove all of it."""
        self._holder.communicate("done\n")
        shutil.rmtree(self.folder, ignore_errors=True)
