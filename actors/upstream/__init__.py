"""The wire to providers: what they are configured as, how they are asked, how their answers are read.

`catalogue` says what is sold and on what `terms`; `request` what of a request goes to its provider;
`wire_formats` how; `client` and `connections` do it. No Ray, no machine, no money: it tells what came.
"""
