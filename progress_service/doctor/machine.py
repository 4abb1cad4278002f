"""This machine: how many streams will it hold?"""

import resource

from progress_service.doctor.finding import Finding, note, well

FILES_MIN = 4_096


def open_files() -> Finding:
    """Look at the limit of open files; each stream takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_MIN:
        said = f"this process may open {soft} files, and each stream is one"
        reach = f"ulimit -n {min(65_536, hard) if hard != resource.RLIM_INFINITY else 65_536}"
        return note("open files", said, f"{reach}   # or LimitNOFILE=65536 in the systemd unit")
    return well("open files", "as many streams as memory allows" if soft < 0 else f"up to {soft}")
