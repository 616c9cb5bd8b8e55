"""A connection from accept to session.

    accept ─→ fast_path ─┬→ (a plain handshake) ─→ checker ─→ upgrader ─→ session
                         └→ sanic_http ─→ web.ws ────────┘
                                                 └→ (refused) ─→ HTTP answers, or refused_clients

May live here: how handshakes are read, who may come in (`checker`) and becomes a session
(`upgrader`), who is told why not (`refused_clients`), and the connections that are still HTTP
(`deadlines`, `connection_limit`). `sanic_http` and `fast_path` are the only files that know Sanic's
HTTP protocol from the inside.
"""
