"""What was told while something went on."""

from __future__ import annotations

from convscope.events import Notice


def notices(events) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def warnings_in(events) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice) and event.warning]
