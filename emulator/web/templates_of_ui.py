"""The templates of the pages of ``peelfleet ui``, beside the parts that the report has, too."""

from collections.abc import Callable
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from emulator.report.page_parts import environment
from wire.errors import InputError

TEMPLATES: Final = environment("emulator.web")


def show_page(template: str, *, status: int = 200, **values: object) -> Response:
    """Return a page from a template and its values."""
    return HTMLResponse(TEMPLATES.get_template(template).render(**values), status_code=status)


def answer_with(page: Callable[[Request], Response]) -> Callable[[Request], Any]:
    """Return an endpoint that answers with *page*, in a thread; a user's mistake is a page of one line."""

    async def endpoint(request: Request) -> Response:
        try:
            return await run_in_threadpool(page, request)
        except InputError as error:
            return show_page("mistake.html", status=404, title="Not here", lines=error.lines)

    return endpoint
