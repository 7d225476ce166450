"""Pages of staff: the list of people, acts on many of them at once, and the firm at a glance."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy import Connection

from tallystick.server.accounts import people
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.accounts.rights import Right
from tallystick.server.errors import ApiError
from tallystick.server.joining import helping, keeping, leaving, listing, overview
from tallystick.server.joining.keeping import PersonWish, Ways
from tallystick.server.joining.listing import PeopleFilter, PeopleOrder, PeopleQuery
from tallystick.server.portal import many
from tallystick.server.portal.many import ManyAct
from tallystick.server.portal.plots import bars
from tallystick.server.portal.staff import ChangesPeople, HelpsPeople, SeesPeople, ways_of
from tallystick.server.portal.web import Form, Member
from tallystick.server.signing_in import inviting
from tallystick.server.wording.worded import worded

router = APIRouter(prefix="/p/{firm}")

FILTER_WORDS = {
    PeopleFilter.ALL: worded("everybody"),
    PeopleFilter.WITHOUT: worded("without a second factor"),
    PeopleFilter.NEW: worded("no password yet"),
    PeopleFilter.LOCKED: worded("locked by wrong codes"),
    PeopleFilter.LENT: worded("with a lent card"),
    PeopleFilter.OVERDUE: worded("with an overdue card"),
    PeopleFilter.LOST: worded("with a lost card"),
    PeopleFilter.STAFF: worded("staff"),
    PeopleFilter.DIRECTORY: worded("kept by a directory"),
    PeopleFilter.DISABLED: worded("disabled"),
}
ACTS = {
    "invite": ManyAct(worded("Mail an invitation"), Right.CHANGE_PEOPLE),
    "end-sessions": ManyAct(worded("Sign them out everywhere"), Right.HELP_PEOPLE),
    "disable": ManyAct(worded("Disable"), Right.CHANGE_PEOPLE),
    "enable": ManyAct(worded("Enable"), Right.CHANGE_PEOPLE),
    "leave": ManyAct(worded("They leave: take everything away"), Right.CHANGE_PEOPLE, counted=True),
}
LOSING = ("disable", "leave")  # perhaps an administrator
SORTS = (
    (PeopleOrder.LOGIN, worded("Login name")),
    (PeopleOrder.NAME, worded("Name")),
    (PeopleOrder.EMAIL, worded("E-mail")),
    (PeopleOrder.ROLE, worded("Role")),
    (PeopleOrder.MADE, worded("Made")),
)


@router.get("/people")
def people_page(
    member: SeesPeople,
    q: str = "",
    show: PeopleFilter = PeopleFilter.ALL,
    sort: PeopleOrder = PeopleOrder.LOGIN,
    down: str = "",
    after: str = "",
    before: str = "",
) -> Response:
    asked = PeopleQuery(q[:255].strip(), show, sort, bool(down), after, before)
    return show_people(member, asked)


def show_people(
    member: Member,
    asked: PeopleQuery | None = None,
    *,
    error: ApiError | None = None,
    notice: str | None = None,
) -> Response:
    asked, visit = asked or PeopleQuery(), member.visit
    with visit.state.database.read() as connection:
        found = listing.page(connection, visit.firm.id, asked, visit.state.now())
    return visit.render(
        "people.html",
        status=error.status if error else 200,
        error=error,
        notice=notice,
        found=found,
        asked=asked,
        roles=list(PersonRole),
        filters=FILTER_WORDS,
        acts=many.open_to(member, ACTS),
        link=_linker(asked),
        sorts=SORTS,
    )


def _linker(asked: PeopleQuery) -> Callable[..., str]:
    return many.linker(
        {
            "q": asked.text, "show": asked.filter, "sort": asked.order,
            "down": "yes" if asked.down else "",
        }
    )  # fmt: skip


@router.post("/people")
def add_person(member: ChangesPeople, form: Form) -> Response:
    """A new person, who sets a password by an invitation, or with the help desk's code."""
    try:
        wanted = PersonWish(
            login=form.get("login", ""),
            name=form.get("name", ""),
            email=form.get("email", ""),
            role=keeping.role_named(form.get("role", "")),
        )
        with member.acting() as connection:
            made = keeping.add(connection, ways_of(member), wanted)
    except ApiError as error:
        return show_people(member, error=error)
    member.visit.state.outbox.wake()
    return member.visit.go(f"/people/{made.id}")


@router.post("/people/many/{act}")
def on_many(member: HelpsPeople, act: str, form: Form) -> Response:
    """An act on all who were ticked: on all of them, or on none."""
    state = member.visit.state
    try:
        chosen = many.chosen(member, ACTS, act, form)
        work = _acts(member)[act]

        def on_all(connection: Connection) -> None:
            if act in LOSING:
                keeping.administrators_first(connection, ways_of(member), chosen)
            for number in sorted(chosen):
                work(connection, ways_of(member), number)

        member.act(on_all)
    except ApiError as error:
        return show_people(member, error=error)
    state.outbox.wake()
    return show_people(
        member, notice=worded("{act}: {number}.", act=ACTS[act].words, number=len(chosen))
    )


Act = Callable[[Connection, Ways, int], object]


def _acts(member: Member) -> Mapping[str, Act]:
    visit = member.visit

    def leave(connection: Connection, ways: Ways, number: int) -> None:
        leaving.leave(connection, ways, [people.get(connection, ways.firm.id, number)])

    def invite(connection: Connection, ways: Ways, number: int) -> None:
        inviting.invite(
            visit.state,
            connection,
            ways.firm,
            people.get(connection, ways.firm.id, number),
            public_url=visit.state.public_url,
            actor=ways.caller.id,
            now=ways.now,
        )

    return {
        "invite": invite,
        "end-sessions": helping.end_sessions,
        "disable": lambda c, w, n: keeping.change(c, w, n, PersonWish(disabled=True)),
        "enable": lambda c, w, n: keeping.change(c, w, n, PersonWish(disabled=False)),
        "leave": leave,
    }


@router.get("/overview")
def overview_page(member: SeesPeople) -> Response:
    """The firm at a glance."""
    visit = member.visit
    with visit.state.database.read() as connection:
        seen = overview.of_firm(connection, visit.firm, ways_of(member).caller, visit.state.now())
    kinds = sorted({kind for day in seen.signed_in.values() for kind in day})
    return visit.render(
        "overview.html",
        seen=seen,
        kinds=kinds,
        sign_ins=bars({day: [of[kind] for kind in kinds] for day, of in seen.signed_in.items()}),
        failures=bars({day: [count] for day, count in seen.failed.items()}),
    )
