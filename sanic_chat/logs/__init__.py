"""The log: how much of it is written, in which form, and without tokens.

`logger` is the server's own log, `redaction` keeps tokens out of all logs, `json_format` writes
lines as JSON, `gone_clients` leaves out what says nothing. Must not know what is logged.
"""
