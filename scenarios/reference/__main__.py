"""Write the pages and files that are made from the types: `make docs`."""

from scenarios.reference.scenario_page import main

main()
