"""The embedded provider: a real HTTP server that speaks OpenAI's chat format and tells the truth.

`models` says what each model does, `answers` what it says, `faults` how the broken ones break,
`request` what a client may ask, `log` keeps the ground truth, `app` answers, `server` listens.
"""
