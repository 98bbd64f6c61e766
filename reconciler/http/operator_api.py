"""The operator API: read fleets, rollouts, devices and releases; accept and reject devices."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from reconciler.http.bodies import BoundedRoute
from reconciler.http.operator_models import (
    Acceptance,
    ConditionList,
    ConditionOut,
    DecisionOut,
    DeviceList,
    DeviceOut,
    FleetList,
    FleetOut,
    History,
    Rejection,
    ReleaseList,
    RolloutDetail,
    RolloutList,
    RolloutOut,
    releases_in,
)
from reconciler.http.ports import DeviceQuery, FleetView, NameHeld, OperatorStore, Ruling
from reconciler.http.tokens import Operator, TokenFile
from schemas.refusal import Refusal
from schemas.selector import Selector, parse_selector
from schemas.wire.report import EnrolState

PREFIX = "/api/v1"
MAX_PAGE, MAX_HISTORY = 500, 200

Key = Annotated[str, Path(pattern=r"^sha256:[0-9a-f]{64}$")]
Name = Annotated[str, Path(max_length=63)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
After = Annotated[str, Query(max_length=200)]
Filter = Annotated[str | None, Query(max_length=1024)]

T = TypeVar("T")


class Authority:
    """Checks bearer tokens. Without a token file nobody is an operator."""

    def __init__(self, tokens: TokenFile | None) -> None:
        self._tokens = tokens

    def reader(
        self,
        credentials: Annotated[
            HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))
        ],
    ) -> Operator:
        """Return the operator, or answer 401."""
        token = credentials.credentials if credentials else ""
        operator = self._tokens.operator(token) if self._tokens and token else None
        if operator is None:
            raise HTTPException(
                401,
                "a valid operator token is required: Authorization: Bearer <token>",
                {"WWW-Authenticate": "Bearer"},
            )
        return operator


def operator_router(
    store: OperatorStore, view: FleetView, authority: Authority, clock: Callable[[], datetime]
) -> APIRouter:
    router = APIRouter(
        prefix=PREFIX, dependencies=[Depends(authority.reader)], route_class=BoundedRoute
    )
    _add_views(router, store, view)
    _add_devices(router, store)
    _add_rulings(router, store, authority, clock)
    return router


def _add_views(router: APIRouter, store: OperatorStore, view: FleetView) -> None:
    @router.get("/fleets")
    def fleets(after: After = "", limit: Limit = 100) -> FleetList:
        page, more = _page(view.statuses(), after, limit)
        return FleetList(items=[FleetOut.of(status) for _, status in page], next=more)

    @router.get("/fleets/{name}")
    def fleet(name: Name) -> FleetOut:
        status = view.statuses().get(name)
        if status is None:
            raise HTTPException(404, f"no fleet {name!r} is published")
        return FleetOut.of(status)

    @router.get("/fleets/{name}/history")
    def history(name: Name, limit: Annotated[int, Query(ge=1, le=MAX_HISTORY)] = 50) -> History:
        found = store.history(fleet=name, rollout=None, limit=limit)
        return History(items=[DecisionOut.of(*item) for item in found])

    @router.get("/rollouts")
    def rollouts(after: After = "", limit: Limit = 100) -> RolloutList:
        ours = {name: status.rollout for name, status in view.statuses().items() if status.rollout}
        page, more = _page(ours, after, limit)
        return RolloutList(items=[RolloutOut.of(*item) for item in page], next=more)

    @router.get("/rollouts/{rollout}")
    def rollout(rollout: Annotated[str, Path(pattern=r"^r-[0-9a-f]{8}$")]) -> RolloutDetail:
        found = store.history(fleet=None, rollout=rollout, limit=MAX_HISTORY)
        current = next(
            (
                RolloutOut.of(name, status.rollout)
                for name, status in view.statuses().items()
                if status.rollout and status.rollout.id == rollout
            ),
            None,
        )
        if current is None and not found:
            raise HTTPException(404, f"no rollout {rollout!r} is known")
        return RolloutDetail(rollout=current, decisions=[DecisionOut.of(*item) for item in found])

    @router.get("/conditions")
    def conditions() -> ConditionList:
        return ConditionList(items=[ConditionOut.of(each) for each in view.conditions()])

    @router.get("/releases")
    def releases(after: After = "", limit: Limit = 100) -> ReleaseList:
        by_id = {f"{each.release} {each.descriptor}": each for each in releases_in(view.statuses())}
        page, more = _page(by_id, after, limit)
        return ReleaseList(items=[each for _, each in page], next=more)


def _add_devices(router: APIRouter, store: OperatorStore) -> None:
    @router.get("/devices")
    def devices(
        fleet: Filter = None,
        name: Filter = None,
        state: EnrolState | None = None,
        selector: Filter = None,
        after: After = "",
        limit: Limit = 100,
    ) -> DeviceList:
        query = DeviceQuery(fleet, name, state, _selector(selector), after, limit + 1)
        found = store.devices(query)
        more = found[limit - 1].key if len(found) > limit else None
        return DeviceList(items=[DeviceOut.of(each) for each in found[:limit]], next=more)

    @router.get("/devices/{key}")
    def device(key: Key) -> DeviceOut:
        found = store.device(key)
        if found is None:
            raise HTTPException(404, f"no device has the key {key}")
        return DeviceOut.of(found)


def _add_rulings(
    router: APIRouter, store: OperatorStore, authority: Authority, clock: Callable[[], datetime]
) -> None:
    def writer(operator: Annotated[Operator, Depends(authority.reader)]) -> Operator:
        if not operator.may_write:
            raise HTTPException(403, f"the token of {operator.name} may only read")
        return operator

    Writer = Annotated[Operator, Depends(writer)]  # noqa: N806 - a type

    @router.post("/devices/{key}/accept")
    def accept(key: Key, body: Acceptance, operator: Writer) -> DeviceOut:
        ruling = Ruling(key, EnrolState.ACCEPTED, operator.name, body.reason, body.labels)
        return _ruled(store, ruling, clock())

    @router.post("/devices/{key}/reject")
    def reject(key: Key, body: Rejection, operator: Writer) -> DeviceOut:
        ruling = Ruling(key, EnrolState.REJECTED, operator.name, body.reason, {})
        return _ruled(store, ruling, clock())


def _ruled(store: OperatorStore, ruling: Ruling, now: datetime) -> DeviceOut:
    outcome = store.rule(ruling, now)
    if outcome is None:
        raise HTTPException(404, f"no device has the key {ruling.key}")
    if isinstance(outcome, NameHeld):
        raise HTTPException(
            409,
            f"the name belongs to the key {outcome.holder}: reject that one,"
            " or take it out of the repository, first",
        )
    return DeviceOut.of(outcome)


def _selector(text: str | None) -> Selector | None:
    try:
        return parse_selector(text) if text else None
    except Refusal as error:
        raise HTTPException(422, str(error)) from error


def _page(
    items: Mapping[str, T], after: str, limit: int
) -> tuple[Sequence[tuple[str, T]], str | None]:
    """Return the items after the name `after`, in order, and where the next page starts."""
    names = sorted(name for name in items if name > after)
    more = names[limit - 1] if len(names) > limit else None
    return [(name, items[name]) for name in names[:limit]], more
