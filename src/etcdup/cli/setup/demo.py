"""`etcdup demo`."""

import shlex
import shutil
import sys
from pathlib import Path

from etcdup.cli.apply.apply import apply_session
from etcdup.cli.run.cluster_file import read_spec
from etcdup.cli.run.interrupts import run_interruptibly
from etcdup.cli.run.session import Session
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.step_texts import count_text
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import WrongValue
from etcdup.core.spec.version import Version, parse_version
from etcdup.errors import EXIT_DONE, UsageError
from etcdup.ops import demo
from etcdup.ops.install import install


def demo_up(folder: Path | None, version: str | None, members: int) -> int:
    """Start the demo, or start what is stopped of an existing one."""
    terminal = Terminal()
    root = (folder or demo.default_folder()).absolute()
    with demo.claimed(root):
        path = root / "cluster.yaml"
        if path.exists():
            _check_same_demo(read_spec(path), root, version)
        else:
            found, source = run_interruptibly(terminal, _choose_version(terminal, version))
            demo.write_cluster_file(root, found, source, members)
        session = Session.begin(path, terminal)
        terminal.say(_heading(terminal, session.spec, root))
        apply_session(session)
    _print_next_steps(terminal, path, folder)
    return EXIT_DONE


def demo_down(folder: Path | None) -> int:
    """Stop the demo and delete its folder."""
    terminal = Terminal()
    root = (folder or demo.default_folder()).absolute()
    if not demo.is_demo(root):
        terminal.say(f"{root} has no demo: nothing to do")
        return EXIT_DONE
    with demo.claimed(root):
        stopped = demo.destroy_demo(root)
    terminal.say(f"stopped {count_text(stopped, 'member')} and deleted {root}")
    return EXIT_DONE


async def _choose_version(terminal: Terminal, version: str | None) -> tuple[Version, str]:
    if version is None:
        async with terminal.wait_notice("looking for etcd"):
            return await demo.choose_version(install.this_arch(), terminal.report, terminal.warn)
    try:
        return parse_version(version), "auto"
    except WrongValue as error:
        raise UsageError(str(error), hint=error.hint) from None


def _check_same_demo(spec: Spec, root: Path, version: str | None) -> None:
    if version is not None and version.removeprefix("v") != str(spec.version):
        raise UsageError(
            f"the demo in {root} already exists with etcd {spec.version}",
            hint=f"run `etcdup demo --down` first, or set `version` in {root}/cluster.yaml and run "
            f"`etcdup -f {root}/cluster.yaml apply`",
        )


def _heading(terminal: Terminal, spec: Spec, root: Path) -> str:
    what = terminal.err("bold", f"etcd {spec.version}, {count_text(spec.size, 'member')} with TLS")
    return f"{what} in {root}\n"


def _print_next_steps(terminal: Terminal, path: Path, folder: Path | None) -> None:
    program, file = program_text(sys.argv[0]), shlex.quote(str(path))
    where = f" --dir {shlex.quote(str(folder))}" if folder else ""
    lines = (
        (f"{program} -f {file} status", "show the members"),
        (f"{program} -f {file} ctl -- put hello world", "run etcdctl with its certificate"),
        (f"{program} demo{where} --down", "stop and delete the demo"),
    )
    width = max(len(command) for command, _ in lines)
    terminal.say("\nTry next:")
    for command, what in lines:
        terminal.say(f"  {command:{width}}  # {terminal.err('dim', what)}")


def program_text(called: str) -> str:
    """Return the command that runs this etcdup in a shell: its name, or its path if another program has the name.

    `make demo` installs etcdup into a virtual environment that is not on PATH.
    """
    program = Path(called).absolute()
    if program.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m etcdup"
    found = shutil.which("etcdup")
    if found and Path(found).resolve() == program.resolve():
        return "etcdup"
    return shlex.quote(str(program))
