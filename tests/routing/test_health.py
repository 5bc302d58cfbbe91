from __future__ import annotations

import random

import msgspec
import pytest

from sidecar.model.errors import ConfigurationError
from sidecar.model.failures import POLICY, Effect, Failure, Kind, UpstreamError
from sidecar.model.secret import Secret
from sidecar.model.settings import AutoLimit, HealthSettings
from sidecar.model.topology import Auth, AuthScheme, ModelFacts, Target
from sidecar.routing.breaker import BreakerEvent, BreakerState, Signal
from sidecar.routing.health import EVENTS, AdminState, Health, HealthBook, Source, TargetState, Transition
from tests.routing.simulator import chain, provider, snapshot

KEYED = Auth(AuthScheme.BEARER, Secret("k1"))


class Book:
    """A book over some targets, with its transitions."""

    def __init__(self, *keys: str, **fields: object) -> None:
        self.told: list[Transition] = []
        self.book = HealthBook(random.Random(1).random, self.told.append)
        self.providers = {key.split("/")[0]: provider(key.split("/")[0], **fields) for key in keys}
        self.keys = keys
        self.adopt(0.0)

    def target(self, key: str) -> Target:
        name, _, model = key.partition("/")
        return Target(self.providers[name], model)

    def adopt(self, now: float, *keys: str) -> None:
        targets = [self.target(key) for key in keys or self.keys]
        self.book.adopt(snapshot(chain(*targets), providers=list(self.providers.values())), now)

    def edit(self, name: str, now: float, **fields: object) -> None:
        self.providers[name] = msgspec.structs.replace(self.providers[name], **fields)
        self.adopt(now)

    def state(self, key: str, now: float = 0.0) -> TargetState:
        return self.book.state(self.target(key), now)

    def fail(self, key: str, kind: Kind, now: float = 0.0, times: int = 1, retry_after_s: float | None = None) -> None:
        for _ in range(times):
            state = self.state(key, now)
            epoch = state.begin(now)
            state.release(epoch)
            failure = Failure(kind, f"{kind} at {key}", retry_after_s=retry_after_s)
            self.book.fail(state, epoch, failure, duration_s=0.03, now=now)

    def succeed(self, key: str, now: float) -> None:
        state = self.state(key, now)
        epoch = state.begin(now)
        state.release(epoch)
        state.succeed(epoch, now, alone=False)

    def check(self, name: str, failure: Kind | None, now: float, began: float | None = None, times: int = 1) -> None:
        for _ in range(times):
            made = None if failure is None else Failure(failure, str(failure))
            self.book.observe_probe(name, made, began=now if began is None else began, now=now)

    def breakers(self) -> dict[str, str]:
        return {state.key: str(state.breaker.state) for state in self.book.states}


def test_every_effect_has_its_event() -> None:
    assert set(EVENTS) == set(Effect)


@pytest.mark.parametrize("kind", [kind for kind in Kind if POLICY[kind].effect is Effect.NONE])
def test_what_is_nobodys_fault_moves_nothing(kind: Kind) -> None:
    book = Book("a/m")
    book.fail("a/m", kind, times=100)
    assert book.breakers() == {"a/m": "closed"}
    assert book.state("a/m").last_error is None


@pytest.mark.parametrize("kind", [Kind.CREDENTIAL, Kind.QUOTA_EXHAUSTED])
def test_a_refused_account_opens_all_its_targets(kind: Kind) -> None:
    book = Book("a/m", "a/n", "b/m")
    book.fail("a/m", kind)
    assert book.breakers() == {"a/m": "open", "a/n": "open", "b/m": "closed"}
    assert book.state("a/n").breaker.until == 300.0


def test_a_quota_opens_until_the_named_reset() -> None:
    book = Book("a/m")
    book.fail("a/m", Kind.QUOTA_EXHAUSTED, retry_after_s=42.0)
    assert book.state("a/m").breaker.until == 42.0


def test_a_model_that_is_gone_opens_itself_only() -> None:
    book = Book("a/m", "a/n")
    book.fail("a/m", Kind.MODEL_UNAVAILABLE)
    assert book.breakers() == {"a/m": "open", "a/n": "closed"}


def test_an_unreachable_address_counts_for_all_who_share_it() -> None:
    book = Book("a/m", "a/n", "b/m", "c/m")
    book.edit("b", 0.0, base_url="http://a")
    for key in ("a/m", "a/n", "b/m"):
        book.fail(key, Kind.UNREACHABLE)
    assert book.breakers() == {"a/m": "open", "a/n": "open", "b/m": "open", "c/m": "closed"}


def test_a_result_of_an_older_epoch_moves_nothing_anywhere() -> None:
    book = Book("a/m", "a/n")
    state = book.state("a/m")
    epochs = [state.begin(0.0) for _ in range(10)]
    for epoch in epochs:
        state.release(epoch)
        book.book.fail(state, epoch, Failure(Kind.UNREACHABLE, "gone"), duration_s=0.1, now=0.0)
    assert (state.breaker.openings, book.state("a/n").breaker.openings) == (1, 1)
    book.book.fail(state, 0, Failure(Kind.CREDENTIAL, "late"), duration_s=0.1, now=0.0)
    assert book.state("a/n").breaker.kind is Kind.UNREACHABLE
    state.succeed(0, 0.0, alone=False)
    assert state.breaker.state is BreakerState.OPEN


def test_transitions_are_told_with_their_reason() -> None:
    book = Book("a/m")
    book.fail("a/m", Kind.RATE_LIMITED, retry_after_s=20.0)
    [told] = book.told
    assert (told.target, told.provider, told.before, told.after) == ("a/m", "a", "closed", "open")
    assert (told.kind, told.openings) == (Kind.RATE_LIMITED, 1)
    assert told.until is not None
    assert 20 <= told.until <= 30
    book.succeed("a/m", 30.0)
    book.succeed("a/m", 30.0)
    assert [str(one.after) for one in book.told] == ["open", "half_open", "slow_start"]
    book.succeed("a/m", 61.0)
    assert book.told[-1].after is BreakerState.CLOSED


# Over a reload.


def test_state_is_kept_by_key_over_a_reload_and_dropped_with_its_target() -> None:
    book = Book("a/m", "b/m")
    book.fail("a/m", Kind.OVERLOADED, times=3)
    kept = book.state("a/m")
    book.adopt(1.0, "a/m")
    assert book.state("a/m") is kept
    assert kept.breaker.state is BreakerState.OPEN
    assert book.book.find("b/m") is None


@pytest.mark.parametrize("kind", [Kind.CREDENTIAL, Kind.QUOTA_EXHAUSTED])
@pytest.mark.parametrize("edit", [{"auth": Auth(AuthScheme.BEARER, Secret("k2"))}, {"base_url": "http://z"}])
def test_an_edited_account_is_asked_again(kind: Kind, edit: dict[str, object]) -> None:
    book = Book("a/m", auth=KEYED)
    book.fail("a/m", kind)
    book.adopt(1.0)
    assert book.breakers() == {"a/m": "open"}
    book.edit("a", 2.0, **edit)
    assert book.breakers() == {"a/m": "closed"}


def test_an_edit_of_how_we_treat_a_provider_forgets_nothing() -> None:
    book = Book("a/m")
    book.fail("a/m", Kind.CREDENTIAL)
    book.edit("a", 1.0, max_inflight=1, health=HealthSettings(interval_s=9.0))
    assert book.breakers() == {"a/m": "open"}
    assert book.state("a/m").max_inflight == 1


def test_attempts_with_the_old_key_say_nothing_of_the_new_one() -> None:
    book = Book("a/m", auth=KEYED)
    state = book.state("a/m")
    epoch = state.begin(0.0)
    book.edit("a", 1.0, auth=Auth(AuthScheme.BEARER, Secret("k2")))
    state.release(epoch)
    book.book.fail(state, epoch, Failure(Kind.CREDENTIAL, "401"), duration_s=2.0, now=2.0)
    assert book.breakers() == {"a/m": "closed"}
    assert state.in_flight == 0


def test_minted_targets_are_the_last_thousand() -> None:
    book = Book("a/m")
    first = book.state("a/text-0")
    for i in range(1, 1001):
        book.state(f"a/text-{i}")
    assert len(book.book.states) == 1001
    assert book.book.find("a/text-0") is None
    assert book.state("a/text-0") is not first
    assert book.state("a/m").minted is False
    used = book.state("a/text-2")
    book.state("a/one-more")
    assert book.book.find("a/text-2") is used


def test_a_minted_target_shares_what_its_provider_suffers_from() -> None:
    book = Book("a/m")
    book.fail("a/m", Kind.CREDENTIAL)
    assert book.state("a/text", 100.0).refusal(100.0) == "open: credential"
    assert book.state("a/text").breaker.until == pytest.approx(300.0)
    assert book.book.state(book.target("a/other"), 301.0).refusal(301.0) is None


def test_a_minted_target_that_the_config_comes_to_name_keeps_its_state() -> None:
    book = Book("a/m")
    state = book.state("a/text")
    assert state.minted
    book.adopt(1.0, "a/m", "a/text")
    assert book.state("a/text") is state
    assert not state.minted


# Active checks.


def test_checks_fall_and_rise() -> None:
    book = Book("a/m")
    health = book.state("a/m").checks
    book.check("a", Kind.UNREACHABLE, 0.0, times=2)
    assert health.health is Health.UNKNOWN
    book.check("a", Kind.UNREACHABLE, 1.0)
    assert (health.health, health.source) == (Health.UNHEALTHY, Source.CHECK)
    assert book.state("a/m").refusal(1.0) == "unhealthy: check"
    book.check("a", None, 2.0)
    assert health.health is Health.UNHEALTHY
    book.check("a", None, 3.0)
    assert health.health is Health.HEALTHY
    assert book.breakers() == {"a/m": "closed"}


def test_a_rate_limited_check_says_nothing() -> None:
    book = Book("a/m")
    book.check("a", Kind.SERVER_ERROR, 0.0, times=2)
    book.check("a", Kind.RATE_LIMITED, 0.0, times=9)
    book.check("a", Kind.SERVER_ERROR, 0.0)
    assert book.state("a/m").checks.health is Health.UNHEALTHY


def test_live_traffic_outvotes_a_broken_model_list() -> None:
    book = Book("a/m")
    book.succeed("a/m", 0.0)
    book.check("a", Kind.SERVER_ERROR, 29.0, times=9)
    book.check("a", Kind.CREDENTIAL, 29.0)
    assert book.state("a/m").refusal(29.0) is None
    book.check("a", Kind.SERVER_ERROR, 31.0, times=3)
    assert book.state("a/m").checks.health is Health.UNHEALTHY
    book.succeed("a/m", 32.0)
    assert (book.state("a/m").checks.health, book.state("a/m").checks.source) == (Health.HEALTHY, Source.TRAFFIC)


def test_live_traffic_replaces_the_check() -> None:
    book = Book("a/m", "a/n")
    assert book.book.needs_probe("a", 0.0)
    book.succeed("a/n", 0.0)
    assert not book.book.needs_probe("a", 29.0)
    assert book.book.needs_probe("a", 30.0)


def test_checks_come_faster_from_the_first_bad_one_on() -> None:
    book = Book("a/m", "b/m")
    assert book.book.probe_interval("a") == 30.0
    book.check("a", Kind.SERVER_ERROR, 0.0)
    assert (book.book.probe_interval("a"), book.book.probe_interval("b")) == (5.0, 30.0)
    book.check("a", None, 0.0)
    assert book.book.probe_interval("a") == 30.0
    book.fail("a/m", Kind.UNREACHABLE, times=3)
    assert book.book.probe_interval("a") == 5.0


def test_two_good_checks_begun_after_the_opening_end_an_unreachable_one() -> None:
    book = Book("a/m")
    book.fail("a/m", Kind.UNREACHABLE, 10.0, times=3)
    book.check("a", None, 10.5, began=9.0, times=5)
    book.check("a", None, 10.6)
    assert book.breakers() == {"a/m": "open"}
    book.check("a", None, 10.7)
    assert book.breakers() == {"a/m": "half_open"}


@pytest.mark.parametrize("kind", [Kind.OVERLOADED, Kind.GATEWAY_ERROR, Kind.FIRST_TOKEN_TIMEOUT])
def test_for_any_other_reason_a_green_model_list_says_nothing(kind: Kind) -> None:
    book = Book("a/m")
    book.fail("a/m", kind, times=3)
    book.check("a", None, 0.5, times=20)
    assert book.breakers() == {"a/m": "open"}


def test_a_key_refused_by_a_check_opens_and_does_not_keep_open() -> None:
    book = Book("a/m")
    book.check("a", Kind.CREDENTIAL, 0.0)
    assert book.breakers() == {"a/m": "open"}
    for now in range(5, 400, 5):
        book.check("a", Kind.CREDENTIAL, float(now))
    assert book.state("a/m").refusal(400.0) is None


# Operators.


def test_an_operators_word_wins_over_checks_until_a_reset() -> None:
    book = Book("a/m")
    book.book.update_provider_health("a", False)
    book.check("a", None, 0.0, times=9)
    assert book.state("a/m").refusal(0.0) == "unhealthy: operator"
    assert book.state("a/text").refusal(0.0) == "unhealthy: operator"
    assert book.book.reset_provider("a", 1.0)
    assert book.state("a/m").refusal(1.0) is None
    book.book.update_provider_health("a", True)
    book.check("a", Kind.SERVER_ERROR, 2.0, times=9)
    assert book.state("a/m").refusal(2.0) is None


def test_an_operators_word_ends_with_an_edit_of_the_entry() -> None:
    book = Book("a/m", "b/m")
    book.book.update_provider_health("a", False)
    book.book.set_admin("a/m", AdminState.MAINT)
    book.edit("b", 1.0, max_inflight=7)
    assert book.state("a/m").refusal(1.0) == "maint"
    book.edit("a", 2.0, max_inflight=7)
    assert book.state("a/m").refusal(2.0) is None


def test_unknown_names_are_told() -> None:
    book = Book("a/m").book
    with pytest.raises(ConfigurationError, match='"z"; known: a'):
        book.update_provider_health("z", True)
    assert not book.reset_provider("z", 0.0)
    assert not book.reset_target("z/m", 0.0)
    assert not book.set_admin("z/m", AdminState.DRAIN)


def test_a_reset_closes_at_once() -> None:
    book = Book("a/m", "a/n")
    book.fail("a/m", Kind.CREDENTIAL)
    assert book.book.reset_target("a/m", 1.0)
    assert book.breakers() == {"a/m": "closed", "a/n": "open"}
    assert book.book.reset_provider("a", 1.0)
    assert [state.breaker.openings for state in book.book.states] == [0, 0]


# Slots.


def test_a_target_that_needs_a_key_and_has_none_is_never_available() -> None:
    book = Book("a/m", auth=Auth(AuthScheme.BEARER, None, "${KEY}"))
    state = book.state("a/m")
    assert (state.refusal(0.0), state.panic_in(0.0), state.ready_in(0.0)) == ("no key", None, None)


def test_the_bulkhead_has_no_queue() -> None:
    book = Book("a/m", max_inflight=2)
    state = book.state("a/m")
    epochs = [state.begin(0.0), state.begin(0.0)]
    assert state.refusal(0.0) == "busy"
    state.release(epochs[0])
    assert state.refusal(0.0) is None


def test_a_description_is_plain_and_moves_nothing() -> None:
    book = Book("a/m")
    book.succeed("a/m", 0.0)
    book.fail("a/m", Kind.OVERLOADED, 1.0, times=3)
    epoch = book.state("a/m").breaker.epoch
    told = book.state("a/m").describe(1000.0)
    assert msgspec.json.decode(msgspec.json.encode(told)) == told
    assert (told["breaker"], told["reason"], told["open_for_s"], told["refusal"]) == ("open", "overloaded", 0.0, None)
    assert (told["recent_failures"], told["last_error_kind"], told["last_success_s_ago"]) == (0, "overloaded", 1000.0)
    assert book.state("a/m").breaker.epoch == epoch


def test_an_outage_lasts_from_its_first_opening_until_the_target_is_in_use_again() -> None:
    book = Book("a/m", "b/m")
    state = book.state("a/m")
    assert state.down_for(0.0) is None
    book.fail("a/m", Kind.OVERLOADED, 10.0, times=3)
    state.apply(Signal(BreakerEvent.TIMER), 100.0)
    assert state.breaker.state is BreakerState.HALF_OPEN
    assert state.down_for(100.0) == 90.0
    book.fail("a/m", Kind.OVERLOADED, 110.0)
    assert (state.breaker.state, state.down_for(200.0)) == (BreakerState.OPEN, 190.0)
    state.apply(Signal(BreakerEvent.TIMER), 500.0)
    book.succeed("a/m", 501.0)
    assert state.down_for(501.0) == 491.0
    book.succeed("a/m", 502.0)
    assert (state.breaker.state, state.down_for(502.0)) == (BreakerState.SLOW_START, None)


def test_one_that_is_unhealthy_is_down_since_the_first_bad_check() -> None:
    book = Book("a/m")
    state = book.state("a/m")
    for now in (10.0, 15.0, 20.0):
        assert state.down_for(now) is None
        state.check_failed("no answer", now)
    assert state.down_for(30.0) == 20.0
    assert state.describe(30.0)["check_error"] == "no answer"
    state.check_passed(30.0, 30.0)
    state.check_passed(35.0, 35.0)
    assert state.down_for(35.0) is None
    assert state.describe(35.0)["check_error"] is None


def test_the_limit_that_is_told_is_the_one_that_rules() -> None:
    book = Book("a/m", models={"m": ModelFacts(reasoning=True)})
    state = book.state("a/m")
    assert state.first_token_limit(AutoLimit()) == 120.0
    state.speed.content_came(10.0, None, 0.0)
    assert state.first_token_limit(AutoLimit()) == 30.0
    state.speed.abandon(30.0, 1.0)
    assert state.first_token_limit(AutoLimit()) == 90.0
    assert state.describe(1.0, AutoLimit(fixed_s=7.0))["first_token_limit_s"] == 7.0


def test_the_body_of_an_error_is_not_kept() -> None:
    book = Book("a/m")
    state = book.state("a/m")
    failure = Failure(Kind.SERVER_ERROR, "m", upstream=UpstreamError(500, b"x" * 1_000_000, "text/html"))
    book.book.fail(state, 0, failure, duration_s=0.1, now=0.0)
    assert state.last_error is not None
    assert state.last_error.upstream is None
