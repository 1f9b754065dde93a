"""What people do with the panels, the same in JupyterLab and in Voila; by keyboard alone, but
that the first control of each is given the focus."""

from playwright.async_api import expect

from tests.browser.panel import Opened

END = "Close it now, it cost nothing so far"


async def look_at_a_model(opened: Opened) -> None:
    """The models panel shows all about the embedded model."""
    await opened.field("Model").select_option("smollm2:135m")
    await opened.field("Model").focus()
    await opened.tab_to("Show")
    await opened.page.keyboard.press("Enter")
    await expect(opened.panel).to_contain_text("Apache License")
    await opened.tab_to("Chat template")
    await opened.page.keyboard.press("Enter")
    await expect(opened.panel.get_by_text("add_generation_prompt")).to_be_visible()


async def plan(opened: Opened) -> None:
    """The deploy panel makes a plan of its form, for this machine."""
    await opened.field("Where").focus()
    for name in ("Model", "Engine", "Name", "Tokens a request", "Requests at once", "Plan"):
        await opened.tab_to(name)
    await opened.page.keyboard.press("Enter")
    await expect(opened.status).to_contain_text("Nothing has started yet.")


async def agree(opened: Opened) -> None:
    """The deploy panel carries its plan out."""
    await opened.button("Deploy, it costs nothing").focus()
    await opened.page.keyboard.press("Space")
    await expect(opened.status).to_contain_text("It is ready.")
    await expect(opened.panel.locator("dd:visible").first).to_have_text("ready")


async def close(opened: Opened) -> None:
    """The deploy panel ends what runs on this machine."""
    await opened.tab_to("Close…")
    await opened.page.keyboard.press("Enter")
    await expect(opened.button(END)).to_be_visible()
    await opened.tab_to(END)
    await opened.page.keyboard.press("Enter")
    await expect(opened.page.locator(".akl-deploy .akl-status")).to_contain_text("is closed")


async def measure(opened: Opened, *, requests: str, loads: str) -> None:
    """The benchmark panel begins with so many requests at each of these loads."""
    for label, text in (("Open requests", loads), ("Requests each", requests)):
        await opened.field(label).focus()
        await opened.page.keyboard.press("Control+a")
        await opened.page.keyboard.type(text)
    await opened.tab_to("Run")
    await opened.page.keyboard.press("Enter")


async def stop_measuring(opened: Opened) -> None:
    """The benchmark panel keeps what it has measured when it is stopped."""
    await expect(opened.status).to_contain_text("level 1 of 2")
    await expect(opened.panel.get_by_role("table", name="Levels")).to_be_visible()
    await opened.tab_to("Stop")
    await opened.page.keyboard.press("Enter")
    await expect(opened.status).to_contain_text("what was measured is kept")
    await expect(opened.button("Run")).to_be_enabled()


async def compare_with_first(opened: Opened) -> None:
    """The benchmark panel shows the last run beside the first."""
    await opened.tab_to("Compare with")
    await opened.page.keyboard.press("End")
    await expect(opened.panel.locator("caption", has_text="Compared with run 1")).to_be_visible()
