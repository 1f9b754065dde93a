"""The deploy panel in real JupyterLab: by keyboard on this machine, by mouse on an account."""

import re

import pytest
from playwright.async_api import expect

from tests.browser import stories
from tests.browser.account import Account
from tests.browser.axe import Axe
from tests.browser.panels.desk import Desk
from tests.support.console import renting

AGREE = "Deploy, at most $2.00"


@pytest.mark.goal(10)
async def test_from_the_form_to_the_end_with_the_keyboard_alone(desk: Desk, axe: Axe) -> None:
    await desk.show(
        "from toolkit.panels import DeployPanel",
        "panel = DeployPanel(name='keys', context=512, parallel=2)",
        "panel",
    )
    await desk.is_as_golden("deploy-form")
    await desk.pictures("deploy-form")
    await axe.check(desk)
    await stories.plan(desk)
    await desk.is_as_golden("deploy-plan")
    await axe.check(desk)
    await stories.agree(desk)
    await desk.is_as_golden("deploy-running")
    await desk.button("Close…").focus()
    await desk.tab_to("Log")
    await desk.page.keyboard.press("Space")
    await expect(desk.panel.locator("pre")).to_contain_text("smollm2")
    await desk.tab_to("Events")
    await desk.page.keyboard.press("Space")
    await expect(desk.panel.get_by_role("table", name="Events")).to_contain_text("ready")
    await desk.pictures("deploy-running")
    await axe.check(desk)
    await desk.field("Log").or_(desk.button("Log")).first.focus()
    await desk.page.keyboard.press("Shift+Tab")
    await desk.page.keyboard.press("Enter")  # Close…
    await desk.tab_to("Close it now, it cost nothing so far")
    await desk.page.keyboard.press("Enter")
    await desk.says("keys is closed; it cost nothing.")


async def fill(desk: Desk, name: str) -> None:
    """What renting needs, typed into the form."""
    await desk.show(
        "from toolkit.panels import DeployPanel",
        f"panel = DeployPanel(target='console', name={name!r})",
        "panel",
    )
    said = {
        "Image": "example.org/akash-llm-server:1",
        "Most $ per hour": "1",
        "Hours": "2",
        "Sealed variables": "HF_TOKEN",
    }
    for label, value in said.items():
        await desk.field(label).fill(value)


@pytest.mark.goal(3, 5, 10)
async def test_renting_names_the_amount_and_leaves_no_secret(
    desk: Desk, account: Account, axe: Axe
) -> None:
    await fill(desk, "rented")
    await desk.pictures("rent-form")
    await desk.button("Plan").click()
    await desk.button(AGREE).wait_for()
    assert not account.world.deployments
    await desk.is_as_golden("rent-plan")
    await axe.check(desk)
    await desk.pictures("rent-plan")
    await desk.button(AGREE).click()
    await expect(desk.panel.get_by_role("table", name="Phases")).to_contain_text("usually")
    await desk.says("It is ready.")
    await expect(desk.panel.locator("dd:visible").first).to_have_text("ready")
    await expect(desk.panel.locator(".akl-tile-grid:visible")).to_contain_text("ends by itself at")
    await desk.pictures("rent-running")
    await desk.button("Change…").click()
    await desk.field("Image").fill("example.org/akash-llm-server:2")
    await desk.button("Plan").click()
    await desk.button("Update, at most $2.00").wait_for()
    changes = desk.panel.get_by_role("table", name="Changes in its deployment file")
    await expect(changes).to_contain_text("the containers restart")
    await desk.pictures("rent-change")
    await desk.button("Back").last.click()
    saved = await desk.saved()
    assert "rented" in saved
    assert not [secret for secret in account.secrets if secret in saved]
    await desk.button("Close…").click()
    await desk.panel.get_by_role("button", name=re.compile("^Close it now, it cost")).click()
    await desk.says("rented is closed; it cost")
    assert renting.is_clean(account.world)


async def test_stop_while_it_opens_closes_what_was_begun(desk: Desk, account: Account) -> None:
    account.ingress.is_loading = True
    try:
        await fill(desk, "my-llm")
        await desk.button("Plan").click()
        await desk.button(AGREE).click()
        await expect(desk.panel.get_by_role("table", name="Phases")).to_contain_text("model")
        await desk.pictures("rent-opening")
        await desk.button("Stop").click()
        await desk.says("Stopped. What was begun is closed; it cost")
        assert renting.is_clean(account.world)
    finally:
        account.ingress.is_loading = False


async def test_the_notebook_about_looking_after_one_runs_to_its_end(desk: Desk) -> None:
    await desk.open("07_manage.ipynb", name="looked-after")
    await expect(desk.panel.locator(".akl-state")).to_have_text("nothing runs")
    await desk.says("looked-after is closed.")
    await expect(desk.page.get_by_role("table", name="Ledger").last).to_contain_text("closed")
