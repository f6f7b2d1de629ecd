"""The command line: `python app.py VERB`. Each verb's docstring is its help.

Exit codes: 0 done · 1 something that a person must mend · 2 a word that is not understood · 3 the
database cannot answer · 4 nobody or nothing of that name · 130 interrupted (what was done stays
done, and nothing is half done).
"""

import signal
import sys
from textwrap import indent
from typing import Annotated

import typer

from db.embedded import EmbeddedError
from db.engine import NotMigrated, Unavailable
from db.session_search import TooSlow
from db.url import DatabaseUrlError
from server import commands, doctor, run, session_commands, user_commands
from server.commands import NothingFound, RefusedError
from server.database import DatabaseError
from server.run import MakeApp
from settings import Settings, SettingsError, load

FAILED, USAGE, UNAVAILABLE, NOT_FOUND, TERMINATED = 1, 2, 3, 4, 143

Apply = Annotated[bool, typer.Option("--apply", help="Do it, instead of showing what would be.")]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")]
Who = Annotated[str, typer.Argument(metavar="USER", help="A user's name or id.")]
User = Annotated[str | None, typer.Option(metavar="USER", help="Of this user: a name or an id.")]
Guest = Annotated[bool | None, typer.Option("--guest/--account", help="Of guests, or of others.")]
Status = Annotated[str | None, typer.Option(metavar="STATUS", help="ACTIVE, EXPIRED or REVOKED.")]
Label = Annotated[str | None, typer.Option(metavar="TEXT", help="With this in their label.")]
Network = Annotated[
    str | None,
    typer.Option("--from", metavar="NETWORK", help="Last used from there: 203.0.113.0/24."),
]
Time = "YYYY-MM-DD[Thh:mm:ss], UTC unless it has an offset"
CreatedAfter = Annotated[
    str | None, typer.Option(metavar="TIME", help=f"Made then or later. {Time}.")
]
CreatedBefore = Annotated[str | None, typer.Option(metavar="TIME", help="Made before then.")]
ActiveAfter = Annotated[str | None, typer.Option(metavar="TIME", help="Used then or later.")]
ActiveBefore = Annotated[str | None, typer.Option(metavar="TIME", help="Not used since then.")]


def main(make_app: MakeApp, arguments: list[str] | None = None) -> None:
    """Does what the arguments say, and ends the process with its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # leaves the database in order
    try:
        make(make_app)(arguments, prog_name="python app.py")
    except (SettingsError, DatabaseUrlError) as error:
        stop(f"These settings cannot be used:\n{indent(str(error), '  ')}", FAILED)
    except (run.StartError, EmbeddedError, RefusedError) as error:
        stop(f"{error}", FAILED)
    except DatabaseError as error:
        stop(f"{error}", UNAVAILABLE)
    except NotMigrated:
        stop("The database is not migrated. Do that first:  make migrate", UNAVAILABLE)
    except Unavailable as error:
        stop(f"The database cannot answer: {error}.", UNAVAILABLE)
    except TooSlow:
        stop("This looks at too many sessions. Name a user, or search for less.", FAILED)
    except NothingFound as error:
        stop(f"{error}", NOT_FOUND)


def stop(message: str, code: int) -> None:
    """Ends the process, and says why."""
    print(message, file=sys.stderr)  # noqa: T201 - the answer to who typed the command
    sys.exit(code)


def make(make_app: MakeApp) -> typer.Typer:
    """All verbs."""
    whole = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
        help="bigtwo-sessions. Without a verb it serves. docs/settings.md has the settings.",
    )  # fmt: skip
    add_serving(whole, make_app)
    add_upkeep(whole)
    whole.add_typer(make_sessions(), name="sessions")
    whole.add_typer(make_users(), name="users")
    return whole


def add_serving(whole: typer.Typer, make_app: MakeApp) -> None:
    """The verb that is meant where none is said."""

    @whole.callback(invoke_without_command=True)
    def without_a_verb(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            run.serve(load(), make_app)

    @whole.command()
    def serve(
        ends_with: Annotated[
            int | None, typer.Option(metavar="PID", help="End when this parent process does.")
        ] = None,
    ) -> None:
        """Serve until Ctrl-C."""
        run.serve(load(), make_app, ends_with=ends_with)


def add_upkeep(whole: typer.Typer) -> None:
    """What keeps the database in order."""

    @whole.command()
    def migrate() -> None:
        """Bring the database to this release's revision."""
        commands.migrate(load())

    @whole.command()
    def cleanup(*, apply: Apply = False, json: Json = False) -> None:
        """Show what a cleanup would purge, or purge it."""
        commands.cleanup(load(), apply=apply, json=json)

    @whole.command(name="doctor")
    def check(
        *,
        token: Annotated[
            bool, typer.Option("--token", help="Explain a token, asked for or piped in; offline.")
        ] = False,
        words: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
        json: Json = False,
    ) -> None:
        """Check settings, keys and database; or explain a token, without printing it."""
        if words:  # probably a token, which must not be quoted
            stop("A token is asked for or piped in: as an argument every process sees it.", USAGE)
        settings = load_for_doctor(json=json)
        if token:
            healthy = doctor.explain_token(settings, json=json)
        else:
            healthy = doctor.check(settings, json=json)
        sys.exit(0 if healthy else FAILED)


def load_for_doctor(*, json: bool) -> Settings:
    """The settings; where they are bad that is the diagnosis."""
    try:
        return load()
    except SettingsError as error:
        doctor.show([doctor.Finding("settings", "fail", str(error))], json=json)
        sys.exit(FAILED)


def make_sessions() -> typer.Typer:
    """The verbs about sessions."""
    verbs = typer.Typer(help="List, show and revoke sessions.", no_args_is_help=True)

    @verbs.command(name="list")
    def show_list(
        *,
        user: User = None,
        guest: Guest = None,
        status: Status = None,
        label: Label = None,
        network: Network = None,
        created_after: CreatedAfter = None,
        created_before: CreatedBefore = None,
        active_after: ActiveAfter = None,
        active_before: ActiveBefore = None,
        limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
        json: Json = False,
    ) -> None:
        """List sessions, those made last first."""
        wanted = session_commands.Wanted(
            user, guest, status, label, network,
            created_after, created_before, active_after, active_before,
        )  # fmt: skip
        session_commands.show_list(load(), wanted, limit=limit, json=json)

    @verbs.command()
    def show(
        id: Annotated[str, typer.Argument(metavar="ID", help="A session's id.")],  # noqa: A002
        *,
        json: Json = False,
    ) -> None:
        """Show a session and its history."""
        session_commands.show(load(), id, json=json)

    @verbs.command()
    def revoke(
        id: Annotated[  # noqa: A002
            str | None, typer.Argument(metavar="ID", help="This session alone.")
        ] = None,
        *,
        user: User = None,
        guest: Guest = None,
        status: Status = None,
        label: Label = None,
        network: Network = None,
        created_after: CreatedAfter = None,
        created_before: CreatedBefore = None,
        active_after: ActiveAfter = None,
        active_before: ActiveBefore = None,
        apply: Apply = False,
        json: Json = False,
    ) -> None:
        """Revoke one session, or all live ones of a filter; shows how many, until --apply.

        After a restore from a backup, sessions that had been revoked live again:
        --created-before with the time of the restore ends them.
        """
        wanted = session_commands.Wanted(
            user, guest, status, label, network,
            created_after, created_before, active_after, active_before,
        )  # fmt: skip
        session_commands.revoke(load(), id, wanted, apply=apply, json=json)

    return verbs


def make_users() -> typer.Typer:
    """The verbs about users."""
    verbs = typer.Typer(help="List, show, promote and disable users.", no_args_is_help=True)

    @verbs.command(name="list")
    def show_list(
        *,
        admins: Annotated[bool, typer.Option("--admins", help="Administrators only.")] = False,
        limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
        json: Json = False,
    ) -> None:
        """List users, those made last first."""
        user_commands.show_list(load(), admins=admins, limit=limit, json=json)

    @verbs.command()
    def show(user: Who, *, json: Json = False) -> None:
        """Show a user, their sessions and their history."""
        user_commands.show(load(), user, json=json)

    @verbs.command()
    def promote(
        user: Who,
        *,
        demote: Annotated[bool, typer.Option("--demote", help="Take the role away.")] = False,
        json: Json = False,
    ) -> None:
        """Make a user an administrator."""
        user_commands.promote(load(), user, demote=demote, json=json)

    @verbs.command()
    def disable(
        user: Who,
        *,
        enable: Annotated[bool, typer.Option("--enable", help="Undo it.")] = False,
        json: Json = False,
    ) -> None:
        """Disable a user: all sessions end, and nobody signs in as them."""
        user_commands.disable(load(), user, enable=enable, json=json)

    @verbs.command(name="link-code")
    def link_code(user: Who, *, json: Json = False) -> None:
        """Make a code with which somebody who has lost every device signs in, once, soon."""
        user_commands.link_code(load(), user, json=json)

    return verbs
