"""Verbs before the first plan: cluster.yaml, its schema, and the SSH keys of the hosts."""

from pathlib import Path

import click

from etcdup.cli.verbs.options import HELP_OPTIONS, file_option, json_option
from etcdup.errors import UsageError


@click.command(context_settings=HELP_OPTIONS)
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@click.option("--name", default="prod", show_default=True, help="The name of the cluster.")
@click.option(
    "--user",
    metavar="USER",
    help="The login user for SSH.  [default: the user that `ssh ADDRESS` logs in as]",
)
@file_option
def init(addresses: tuple[str, ...], name: str, user: str | None, file: Path) -> int:
    """Write a commented cluster.yaml to start with.

    \b
    Example:
      etcdup init --user ubuntu 10.0.0.1 10.0.0.2 10.0.0.3
    """
    from etcdup.cli.setup.init import write_file

    return write_file(file, name, addresses, user)


@click.command(context_settings=HELP_OPTIONS)
@json_option
@file_option
def validate(file: Path, as_json: bool) -> int:
    """Check cluster.yaml without a connection to a host.

    It also checks the certificates that `tls` names. The exit code is 2 if there is a problem.
    """
    from etcdup.cli.setup.validate import validate_file

    return validate_file(file, as_json=as_json)


@click.command(context_settings=HELP_OPTIONS)
def schema() -> int:
    """Print the JSON schema of cluster.yaml, for editors.

    `etcdup init` writes it to `.etcdup/cluster.schema.json`, and the first line of cluster.yaml names that file.

    \b
    Example:
      etcdup schema > .etcdup/cluster.schema.json
    """
    from etcdup.cli.setup.validate import print_schema

    return print_schema()


@click.command(context_settings=HELP_OPTIONS)
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@click.option("-y", "--yes", is_flag=True, help="Skip the confirmation: add all new keys.")
@json_option
@file_option
def trust(addresses: tuple[str, ...], file: Path, yes: bool, as_json: bool) -> int:
    """Show the SSH keys of new hosts, and add them to known_hosts after a confirmation.

    Without ADDRESS, these are the hosts of cluster.yaml. ADDRESS is a machine that cluster.yaml need not have yet, for
    example that of `member replace --address`.

    Compare each fingerprint with the key on the console of the host. A key that differs from the one in known_hosts is
    never added. With --json and without --yes, the keys are only printed, and the exit code is 3 if there are new ones.

    \b
    Examples:
      etcdup trust
      etcdup trust 10.0.0.12
      etcdup trust --json
    """
    from etcdup.cli.setup.trust import trust_hosts

    return trust_hosts(file, addresses, yes=yes, as_json=as_json)


@click.command(context_settings=HELP_OPTIONS)
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option(
    "--dry-run", is_flag=True, help="Only inspect, and print the draft of cluster.yaml. Nothing is written."
)
@click.option(
    "--to-tls",
    is_flag=True,
    help="For a cluster with plain http: print the commands of the next step to https. No host is changed.",
)
@click.option(
    "--take-over",
    is_flag=True,
    help="Switch the members of these hosts, or of all, to the unit and the files of etcdup.",
)
@click.option(
    "--static-pods",
    is_flag=True,
    help="With `--take-over`: also take over static pods. Their manifests leave the directory of the kubelet.",
)
@click.option(
    "--consumers-have",
    type=click.Choice(["tls"]),
    help="With `--take-over`: confirm that all clients use https with certificates. http ends for clients.",
)
@click.option(
    "--give-back",
    is_flag=True,
    help="Switch the member of one host back to its old unit, until all hosts are taken over.",
)
@click.option(
    "--release", is_flag=True, help="Remove the markers, and rename cluster.yaml and its certificates."
)
@click.option("--name", default="", help="The name of the cluster.  [default: its token, if that is a name]")
@click.option(
    "--user",
    default="",
    metavar="USER",
    help="The login user for SSH.  [default: the user that `ssh HOST` logs in as]",
)
@click.option(
    "--with-ca-key",
    is_flag=True,
    help="Copy the key of the CA from a host over SSH, so that etcdup can issue certificates.",
)
@click.option("-y", "--yes", is_flag=True, help="Skip the confirmation.")
@json_option
@file_option
def adopt(
    hosts: tuple[str, ...],
    file: Path,
    dry_run: bool,
    to_tls: bool,
    take_over: bool,
    static_pods: bool,
    consumers_have: str | None,
    give_back: bool,
    release: bool,
    name: str,
    user: str,
    with_ca_key: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Manage a cluster that another tool made.

    HOST is one member or more. Other members are found in the member list; etcdup connects to them after a
    confirmation, or if you name them. etcdup writes cluster.yaml, the files of `tls` next to it, and one marker on each
    host. The exit code is 4 if the cluster cannot be adopted as it is, and then nothing was written.

    `--to-tls` is for members that use plain http between each other, or that accept only http from clients. It prints a
    script for the next step, and the exit code is 3. Run the script, then the same command again, until it is 0.

    `--take-over` restarts one member after the other, with the same version and data. HOST is then a name of
    cluster.yaml.

    \b
    Examples:
      etcdup adopt 10.0.0.1 --dry-run
      etcdup adopt 10.0.0.1 10.0.0.2 10.0.0.3 --to-tls
      etcdup adopt 10.0.0.1 10.0.0.2 10.0.0.3 --name prod
      etcdup adopt --take-over
      etcdup adopt --give-back infra1
      etcdup adopt --release
    """
    if static_pods and not take_over:
        raise UsageError(
            "`--static-pods` is only for `--take-over`: an adoption changes no manifest",
            hint="run the same command without `--static-pods`",
        )
    if consumers_have and not take_over:
        raise UsageError(
            "`--consumers-have tls` is only for `--take-over`: only a take-over ends http for clients",
            hint="run the same command without `--consumers-have`",
        )
    if to_tls:
        if take_over or give_back or release or dry_run or with_ca_key or name:
            raise UsageError(
                "`--to-tls` accepts no other option of `adopt` except `--user` and `--json`",
                hint="run `etcdup adopt HOST... --to-tls`: it only prints",
            )
        from etcdup.cli.adopt.to_tls import show_next_step

        return show_next_step(hosts, user=user, as_json=as_json)
    if take_over or give_back:
        return _switch(
            file,
            hosts,
            back=give_back,
            static_pods=static_pods,
            consumers_have_tls=consumers_have is not None,
            alone=not (dry_run or release or with_ca_key or (take_over and give_back)),
            yes=yes,
            as_json=as_json,
        )
    if release:
        _refuse_with_release(hosts, dry_run=dry_run, with_ca_key=with_ca_key)
        from etcdup.cli.adopt.release import release_cluster

        return release_cluster(file, yes=yes, as_json=as_json)
    if dry_run:
        from etcdup.cli.adopt.adopt import inspect_cluster

        return inspect_cluster(hosts, name=name, user=user, as_json=as_json)
    from etcdup.cli.adopt.write import Options, adopt_cluster

    return adopt_cluster(Options(file, hosts, name, user, yes, with_ca_key, as_json))


def _switch(
    file: Path,
    names: tuple[str, ...],
    *,
    back: bool,
    static_pods: bool,
    consumers_have_tls: bool,
    alone: bool,
    yes: bool,
    as_json: bool,
) -> int:
    if not alone:
        raise UsageError(
            "`--take-over` and `--give-back` accept no other option of `adopt` except `-f`, `--yes` and `--json`",
            hint="run `etcdup adopt --take-over`, or `etcdup adopt --give-back NAME`",
        )
    from etcdup.cli.adopt.take_over import Permits, give_back, take_over

    if not back:
        permits = Permits(static_pods, consumers_have_tls)
        return take_over(file, names, permits, yes=yes, as_json=as_json)
    if len(names) != 1:
        raise UsageError("`--give-back` takes one host", hint="run `etcdup adopt --give-back NAME`")
    return give_back(file, names[0], yes=yes, as_json=as_json)


def _refuse_with_release(hosts: tuple[str, ...], *, dry_run: bool, with_ca_key: bool) -> None:
    if hosts or dry_run or with_ca_key:
        raise UsageError(
            "`--release` takes no HOST, no `--dry-run` and no `--with-ca-key`: the hosts are those of cluster.yaml",
            hint="run `etcdup adopt --release`",
        )


VERBS = (init, validate, schema, trust, adopt)
