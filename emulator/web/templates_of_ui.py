"""The templates of the pages of ``peelfleet ui``, beside the parts that the report has, too."""

from typing import Final

from emulator.report.page_parts import environment

TEMPLATES: Final = environment("emulator.web")
