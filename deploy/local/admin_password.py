"""`make admin-password`: a new password for an admin who has lost theirs, shown once."""

from pathlib import Path

from deploy.local import environment, settings
from deploy.local.key import asked_by_local_operator, done
from shared.contracts.users import RESET_ADMIN_PASSWORD, AdminPassword, NewAdminPassword


def main(root: Path | None = None) -> int:
    """Prints whose password it is and the password. Raises `Problem` when there is none to be had."""
    ours = settings.read(root or Path.cwd(), environment.read(root or Path.cwd()))
    wish = NewAdminPassword(email=ours.environment.get("EMAIL") or None)
    made: AdminPassword = done(asked_by_local_operator(ours, RESET_ADMIN_PASSWORD, wish))
    print(f"Admin     {made.email}")
    print(f"Password  {made.password.get_secret_value()}   (shown only now; change it at the next login)")
    return 0
