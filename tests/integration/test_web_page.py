"""The web page in a real browser: an operator looks, moves traffic, runs rollouts, and is told what went wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from router.admin.operations import Role
from router.monitor.incident import Incident
from tests.admin import MODEL, SHARES, AdminWorld, policy_body, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Sandboxed unless we are root, where Chromium refuses a sandbox."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield running
        running.close()


@pytest.fixture
def world(tmp_path: Path) -> AdminWorld:
    return AdminWorld(tmp_path)


@pytest.fixture
def gateway(world: AdminWorld) -> Iterator[httpx.Client]:
    """The admin API, with a policy: 90 % for version 1, 10 % for version 2."""
    headers = {"Authorization": f"Bearer {world.admin_token}"}
    with serving(world.app) as address, httpx.Client(base_url=address, headers=headers) as client:
        client.put(f"/admin/v1/policies/{MODEL}", json=policy_body(), headers={"If-None-Match": "*"}).raise_for_status()
        yield client


@pytest.fixture
def page(browser: Browser, gateway: httpx.Client, world: AdminWorld) -> Iterator[Page]:
    """The overview, as an operator sees it after entering a token; an error in its scripts fails the test."""
    context = browser.new_context()
    shown = context.new_page()
    errors: list[str] = []
    shown.on("pageerror", lambda error: errors.append(str(error)))
    shown.goto(str(gateway.base_url))
    enter(shown, world.token_of[Role.OPERATOR])
    expect(card(shown)).to_be_visible()
    yield shown
    context.close()
    assert not errors


def enter(page: Page, token: str) -> None:
    page.get_by_label("Token", exact=True).fill(token)
    page.get_by_role("button", name="Sign in").click()


def card(page: Page) -> Any:
    return page.locator("article", has=page.get_by_role("heading", name=MODEL))


def policy(gateway: httpx.Client) -> dict[str, Any]:
    return dict(gateway.get(f"/admin/v1/policies/{MODEL}").json())


def put(gateway: httpx.Client, shares: Sequence[dict[str, Any]], reason: str) -> None:
    """Write the policy as somebody else does, over its first revision."""
    body = policy_body(shares, reason)
    gateway.put(f"/admin/v1/policies/{MODEL}", json=body, headers={"If-Match": '"1"'}).raise_for_status()


def weights(gateway: httpx.Client) -> dict[str, int]:
    return {variant["name"]: variant["weight"] for variant in policy(gateway)["variants"]}


def test_an_unknown_token_is_refused_in_the_gateways_own_words(browser: Browser, gateway: httpx.Client) -> None:
    """And nothing is shown."""
    page = browser.new_page()
    page.goto(str(gateway.base_url))
    enter(page, "shep_wrong")

    expect(page.get_by_role("alert").filter(has_text="unknown token")).to_be_visible()
    expect(page.locator("#overview")).to_be_hidden()
    page.close()


def test_the_overview_shows_traffic_versions_and_the_log(page: Page) -> None:
    """What an operator asks first: who gets how much, is it up, does the log's accounting balance?"""
    expect(card(page)).to_contain_text("canary version 2 · 10 %")
    expect(page.locator("#versions")).to_contain_text("ready")
    expect(page.locator("#log")).to_contain_text("1 spool_full")


def test_traffic_is_moved_after_a_look_at_what_would_move(page: Page, gateway: httpx.Client) -> None:
    """The impact is shown before, the reason is kept, the actor is the token's."""
    card(page).get_by_role("button", name="Move traffic").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("stable, version 1").fill("70")
    dialog.get_by_label("canary, version 2").fill("30")
    expect(dialog.get_by_text("of the keys would get another version")).to_be_visible()
    assert weights(gateway) == {"stable": 9000, "canary": 1000}, "a look changes nothing"
    dialog.get_by_label("Reason").fill("the canary does well")
    dialog.get_by_role("button", name="Move traffic").click()

    expect(card(page)).to_contain_text("canary version 2 · 30 %")
    assert weights(gateway) == {"stable": 7000, "canary": 3000}
    assert (policy(gateway)["actor"], policy(gateway)["reason"]) == ("ada", "the canary does well")


def test_shares_that_do_not_come_to_the_whole_are_not_sent(page: Page, gateway: httpx.Client) -> None:
    """The dialog says what they come to."""
    card(page).get_by_role("button", name="Move traffic").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("canary, version 2").fill("20")
    dialog.get_by_label("Reason").fill("more")
    dialog.get_by_role("button", name="Move traffic").click()

    expect(dialog.get_by_role("alert")).to_contain_text("add up to 110 %")
    assert weights(gateway) == {"stable": 9000, "canary": 1000}


def test_a_change_that_another_writer_made_meanwhile_is_not_overwritten(page: Page, gateway: httpx.Client) -> None:
    """What the dialog shows was true when it was opened; the gateway refuses it now."""
    card(page).get_by_role("button", name="Move traffic").click()
    dialog = page.get_by_role("dialog")
    put(gateway, [{"name": "stable", "version": 1, "weight": 10_000}], "all back")
    dialog.get_by_label("Reason").fill("late")
    dialog.get_by_role("button", name="Move traffic").click()

    expect(dialog.get_by_role("alert")).to_contain_text("revision")
    assert weights(gateway) == {"stable": 10_000}


def test_a_version_that_fails_its_golden_check_gets_no_traffic(page: Page, gateway: httpx.Client) -> None:
    """The dialog stays, with the reason."""
    card(page).get_by_role("button", name="Move traffic").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("New variant").fill("next")
    dialog.get_by_role("combobox").select_option("3")
    dialog.get_by_role("button", name="Add").click()
    dialog.get_by_label("stable, version 1").fill("89")
    dialog.get_by_label("next, version 3").fill("1")
    dialog.get_by_label("Reason").fill("try it")
    dialog.get_by_role("button", name="Move traffic").click()

    expect(dialog.get_by_role("alert")).to_contain_text("golden check")
    assert "next" not in weights(gateway)


def test_a_shadow_is_added_and_removed(page: Page, gateway: httpx.Client) -> None:
    """It appears beside the variants."""
    card(page).get_by_role("button", name="Add shadow").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").select_option("4")
    dialog.get_by_label("Copies of").fill("20")
    dialog.get_by_label("Reason").fill("compare")
    dialog.get_by_role("button", name="Add shadow").click()
    expect(card(page)).to_contain_text("shadow: version 4 · copies of 20 %")

    card(page).get_by_role("button", name="Remove the shadow of version 4").click()
    dialog.get_by_label("Reason").fill("seen enough")
    dialog.get_by_role("button", name="Remove shadow").click()

    expect(card(page)).not_to_contain_text("copies of")
    assert not policy(gateway).get("shadows")


def test_a_rollback_says_where_it_leads_and_goes_there(page: Page, gateway: httpx.Client) -> None:
    """One reason and one click."""
    put(gateway, [{"name": "stable", "version": 4, "weight": 10_000}], "version 4")
    expect(card(page)).to_contain_text("version 4 · 100 %")
    card(page).get_by_role("button", name="Roll back").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Restores stable version 1 90 %")).to_be_visible()
    dialog.get_by_label("Reason").fill("customers complain")
    dialog.get_by_role("button", name="Roll back now").click()

    expect(card(page)).to_contain_text("stable version 1 · 90 %")
    assert weights(gateway) == {"stable": 9000, "canary": 1000}


def test_a_rollout_is_started_and_aborted(page: Page, gateway: httpx.Client) -> None:
    """While it runs its card shows phase, steps and what may be done; then how it ended."""
    put(gateway, [{"name": "stable", "version": 1, "weight": 10_000}], "one version")
    expect(card(page)).to_contain_text("one version")
    card(page).get_by_role("button", name="Start rollout").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").select_option("4")
    dialog.get_by_label("Steps").fill("5, 50, 100")
    expect(dialog.get_by_text("Starts with 5 % for the version")).to_be_visible()
    dialog.get_by_label("Reason").fill("trained on this week")
    dialog.get_by_role("button", name="Start rollout").click()
    expect(card(page)).to_contain_text("Rollout of version 4 pending")

    card(page).get_by_role("button", name="Abort").click()
    dialog.get_by_label("Reason").fill("not today")
    dialog.get_by_role("button", name="Abort").click()
    expect(card(page)).to_contain_text("Last rollout, version 4: aborted")
    assert gateway.get(f"/admin/v1/rollouts/{MODEL}").json()["plan"]["steps"] == [500, 5000, 10_000]


def test_an_act_that_has_no_place_where_the_rollout_stands_is_refused(page: Page, gateway: httpx.Client) -> None:
    """The dialog stays with the gateway's words, and can be left."""
    put(gateway, [{"name": "stable", "version": 1, "weight": 10_000}], "one version")
    start = {"version": 4, "steps": [500, 10_000], "reason": "trained on this week"}
    gateway.post(f"/admin/v1/rollouts/{MODEL}", json=start).raise_for_status()
    card(page).get_by_role("button", name="Abort").click()
    expect(card(page).get_by_role("button", name="Pause")).to_have_count(0)  # it has no share yet
    dialog = page.get_by_role("dialog")
    gateway.post(f"/admin/v1/rollouts/{MODEL}/abort", json={"reason": "faster"}).raise_for_status()
    dialog.get_by_label("Reason").fill("not today")
    dialog.get_by_role("button", name="Abort").click()
    expect(dialog.get_by_role("alert")).to_contain_text("aborted")
    dialog.get_by_role("button", name="Cancel").click()

    expect(dialog).to_be_hidden()
    expect(card(page)).to_contain_text("Last rollout, version 4: aborted")


def test_a_model_without_a_policy_is_given_traffic(page: Page, gateway: httpx.Client) -> None:
    """All of it to one version, which is made ready first."""
    gateway.delete(
        f"/admin/v1/policies/{MODEL}", headers={"If-Match": '"1"', "X-Shepherd-Reason": "afresh"}
    ).raise_for_status()
    page.get_by_role("button", name="Send traffic").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("version 4 would be loaded first")).to_be_visible()
    dialog.get_by_label("Reason").fill("begin")
    dialog.get_by_role("button", name="Send traffic").click()

    expect(card(page)).to_contain_text("stable version 4 · 100 %")
    assert weights(gateway) == {"stable": 10_000}


def test_history_is_read_when_it_is_opened_and_an_old_revision_can_come_back(page: Page, gateway: httpx.Client) -> None:
    """It comes back as a new revision."""
    put(gateway, [{"name": "stable", "version": 1, "weight": 10_000}], "no canary")
    expect(card(page)).to_contain_text("no canary")
    card(page).get_by_text("Shadows, drift, labels, history").click()
    card(page).get_by_role("button", name="Restore").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("we want it")
    dialog.get_by_role("button", name="Restore").click()

    expect(card(page)).to_contain_text("Revision 3 by ada")
    assert weights(gateway) == {"stable": 9000, "canary": 1000}


def test_an_open_incident_stands_above_everything(page: Page, world: AdminWorld) -> None:
    """With its severity and what speaks for it."""
    evidence = {"stable": {"drift": {"dep_delay": 0.31}, "performance": {"drop": 0.18}, "estimate": {"drop": 0.07}}}
    world.watch.told = [
        Incident(id=f"{MODEL}/1/1", model=MODEL, version=1, severity="emergency", opened_at=1.0, evidence=evidence)
    ]

    incidents = page.locator("#incidents")
    expect(incidents).to_contain_text("emergency")
    expect(incidents).to_contain_text("drift in dep_delay, 18.0 % worse by labels, 7.0 % worse by estimate")


def test_who_may_only_look_is_told_so(browser: Browser, gateway: httpx.Client, world: AdminWorld) -> None:
    """The gateway decides, the page repeats its words."""
    page = browser.new_page()
    page.goto(str(gateway.base_url))
    enter(page, world.token_of[Role.VIEWER])
    card(page).get_by_role("button", name="Move traffic").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("try")
    dialog.get_by_role("button", name="Move traffic").click()

    expect(dialog.get_by_role("alert")).to_contain_text("operator")
    page.close()


def test_names_and_reasons_cannot_become_markup(page: Page, gateway: httpx.Client) -> None:
    """What a writer typed is text for every reader."""
    put(gateway, SHARES, "<img src=x onerror=alert(1)>")

    expect(card(page)).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("article img").count() == 0
