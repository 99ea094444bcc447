"""What a start tells the person who made it: where everything is, and once the admin's password."""

from deploy.local.settings import Settings
from deploy.local.terminal import Terminal

ADMIN = "admin@peanut.local"
_HEADLINE_STYLE = "1;32"
_SHOWN_ONCE = "1;30;43"


def addresses(settings: Settings, terminal: Terminal) -> None:
    """Where people and programs reach it."""
    terminal.say()
    terminal.say(terminal.paint("  PeanutAgent is up", _HEADLINE_STYLE))
    terminal.say(f"  API       {settings.public_url}/api/v1")
    terminal.say(f"  Documents {settings.public_url}/docs")


def password(secret: str | None, terminal: Terminal) -> None:
    """To the terminal and nowhere else; nothing when none was generated."""
    if secret:
        terminal.say()
        terminal.say(f"  Admin     {ADMIN}")
        terminal.say(
            f"  Password  {terminal.paint(secret, _SHOWN_ONCE)}   (shown only now; change it at the first login)"
        )


def hint(text: str, terminal: Terminal) -> None:
    """What to do next."""
    terminal.say()
    terminal.say(terminal.paint(f"  {text}", "2"))
    terminal.say()
