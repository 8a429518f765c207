"""`shepherd token`: who may call the admin API."""

from __future__ import annotations

import click
from rich.table import Table

from router.admin.auth import INITIAL_NAME, TokenStore
from router.admin.operations import Role
from router.cli.client import AdminClient, GatewayUnreachable
from router.cli.failures import CommandFailed
from router.cli.location import connect
from router.cli.options import output_option, reported_failures, state_dir, state_option
from router.cli.output import OutputFormat, show
from router.policy.actors import is_own

_ROLES = [role.name.lower() for role in Role]


@click.group(short_help="Create and revoke tokens of the admin API.")
def token() -> None:
    """Create and revoke tokens of the admin API; only on the gateway's machine, as its owner."""


@token.command("add", short_help="Create a token and print it once.")
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), default="viewer", show_default=True, help="Role of the token.")
@state_option
@output_option
def add_token(name: str, role: str, state: str | None, output: OutputFormat) -> None:
    """Create a token for NAME, the actor in the audit log, and print it once; it replaces an older one of NAME."""
    if name == INITIAL_NAME:
        raise CommandFailed(f"{INITIAL_NAME} is reserved; its token is in admin.token")
    if is_own(name):
        raise CommandFailed(f"the gateway itself writes as {name}; choose another name")
    with reported_failures():
        client = running(state)
        if client is None:
            made = TokenStore(state_dir(state)).add(name, Role[role.upper()])
        else:
            with client:
                made = client.add_token(name, role)
    show(output, {"name": name, "role": role, "token": made}, lambda: made)


@token.command("list")
@state_option
@output_option
def list_tokens(state: str | None, output: OutputFormat) -> None:
    """List who has a token."""
    with reported_failures():
        callers = TokenStore(state_dir(state)).names()
    data = [{"name": caller.name, "role": caller.role.name.lower()} for caller in callers]

    def render() -> Table:
        table = Table("name", "role", box=None, header_style="bold")
        for line in data:
            table.add_row(line["name"], line["role"])
        return table

    show(output, data, render)


@token.command("remove")
@click.argument("name")
@state_option
def remove_token(name: str, state: str | None) -> None:
    """Revoke the token of NAME at once."""
    with reported_failures():
        client = running(state)
        if client is not None:
            with client:
                client.remove_token(name)
        elif not TokenStore(state_dir(state)).remove(name):
            raise CommandFailed(f"{name} has no token")


def running(state: str | None) -> AdminClient | None:
    """Connect to the gateway of a state directory, whose audit log then has the act; None when none runs."""
    try:
        return connect(state_dir(state), None, None)
    except GatewayUnreachable:
        return None
