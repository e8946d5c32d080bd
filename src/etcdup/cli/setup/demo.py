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
    """Brings the demo up, or what there is of it back to life."""
    terminal = Terminal()
    place = (folder or demo.default_folder()).absolute()
    with demo.claimed(place):
        path = place / "cluster.yaml"
        if path.exists():
            _check_same_demo(read_spec(path), place, version)
        else:
            found, source = run_interruptibly(terminal, _choose_version(terminal, version))
            demo.write_cluster_file(place, found, source, members)
        session = Session.begin(path, terminal)
        terminal.say(_heading(terminal, session.spec, place))
        apply_session(session)
    _print_next_steps(terminal, path, folder)
    return EXIT_DONE


def demo_down(folder: Path | None) -> int:
    """Stops the demo and deletes its folder."""
    terminal = Terminal()
    place = (folder or demo.default_folder()).absolute()
    if not demo.is_demo(place):
        terminal.say(f"there is no demo in {place}: nothing to do")
        return EXIT_DONE
    with demo.claimed(place):
        stopped = demo.destroy_demo(place)
    terminal.say(f"stopped {count_text(stopped, 'member')} and deleted {place}")
    return EXIT_DONE


async def _choose_version(terminal: Terminal, version: str | None) -> tuple[Version, str]:
    if version is None:
        async with terminal.wait_notice("looking for etcd"):
            return await demo.choose_version(install.this_arch(), terminal.report, terminal.warn)
    try:
        return parse_version(version), "auto"
    except WrongValue as error:
        raise UsageError(str(error), hint=error.hint) from None


def _check_same_demo(spec: Spec, place: Path, version: str | None) -> None:
    if version is not None and version.removeprefix("v") != str(spec.version):
        raise UsageError(
            f"the demo in {place} is etcd {spec.version}",
            hint=f"`etcdup demo --down` first, or change `version` in {place}/cluster.yaml and apply it",
        )


def _heading(terminal: Terminal, spec: Spec, place: Path) -> str:
    what = terminal.err("bold", f"etcd {spec.version}, {count_text(spec.size, 'member')} with TLS")
    return f"{what} in {place}\n"


def _print_next_steps(terminal: Terminal, path: Path, folder: Path | None) -> None:
    program, file = program_text(sys.argv[0]), shlex.quote(str(path))
    where = f" --dir {shlex.quote(str(folder))}" if folder else ""
    lines = (
        (f"{program} -f {file} status", "the members"),
        (f"{program} -f {file} ctl -- put hello world", "etcdctl, with the right certificates"),
        (f"{program} demo{where} --down", "stops the demo and deletes it"),
    )
    width = max(len(command) for command, _ in lines)
    terminal.say("\nNow try:")
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
