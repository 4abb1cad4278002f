"""The account that PostgreSQL runs under: ours, except for root, under which it refuses to run at all."""

import logging
import os
import pwd
import stat
from pathlib import Path

logger = logging.getLogger(__name__)


def account_for(cluster: Path) -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as: us, unless we are root, which it refuses. None stands for us."""
    owner = cluster.stat().st_uid if cluster.exists() else os.geteuid()
    if os.geteuid() == 0:
        return pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
    if owner != os.geteuid():
        raise PermissionError(f"{cluster} belongs to the user {owner}, not to us")
    return None


def hand_over(account: pwd.struct_passwd | None, folder: Path) -> None:
    """Make *folder* the account's."""
    if account:
        os.chown(folder, account.pw_uid, account.pw_gid)


def let_pass(*paths: Path) -> None:
    """Let other accounts pass through the folders above *paths*, though not look into them."""
    for folder in dict.fromkeys(parent for path in paths for parent in path.parents):
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            logger.warning("other accounts may now pass through %s: PostgreSQL never runs as root", folder)
            folder.chmod(mode | stat.S_IXOTH)


def let_read(*folders: Path) -> None:
    """Undo what a strict umask did to *folders* when they were installed."""
    for folder in folders:
        if not folder.stat().st_mode & stat.S_IROTH:
            for path in (folder, *folder.rglob("*")):
                mode = path.stat().st_mode
                path.chmod(mode | (mode & (stat.S_IRUSR | stat.S_IXUSR)) >> 6)
