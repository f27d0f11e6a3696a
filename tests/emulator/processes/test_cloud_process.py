"""Summary of the logs of cloud services, for an error about missing answers."""

from emulator.processes.cloud_process import summarise_logs

LOG = """\
2026-11-29 23:37:30,000 INFO peelfleet.cloud: serving model m to fleet f
2026-11-29 23:37:31,000 WARNING peelfleet.cloud: refused a message on peel/1/f/d/budget: user(=9) of 6
2026-11-29 23:37:32,000 ERROR peelfleet.cloud: the broker has ended 3 connections of ours soon
2026-11-29 23:37:33,000 ERROR peelfleet.cloud: the broker has ended 4 connections of ours soon
2026-11-29 23:37:34,000 INFO peelfleet.cloud: stopped: it received 8 messages and published 9, 70 bytes in all
"""


def test_the_last_of_each_kind_of_warning_is_shown_and_what_was_published() -> None:
    assert summarise_logs(LOG) == (
        "the cloud received 8 messages and published 9, 70 bytes in all; "
        "it warned: refused a message on peel/1/f/d/budget: user(=9) of 6; "
        "it warned: the broker has ended 4 connections of ours soon"
    )
    assert summarise_logs("Traceback ...") == "the cloud said nothing at its end"
