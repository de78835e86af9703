"""How are results shown? As tables, figures and one HTML page.

`run.RunReport` is their input, `catalogue` lists every number that they can show. Nothing is
imported here: only `figures` needs matplotlib, and only `page` Jinja.
"""
