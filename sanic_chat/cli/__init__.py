"""The command `sanic-chat`: start a server, speak to one, look into one.

    main ─→ serve, config, messages (pub, sub), stats, token

A command's module is loaded when the command is called: `--help` loads none. May live here:
options, output and exit codes. Must not know how anything is done that the server does too.
"""
