"""Real Redis and Valkey servers for the tests; `tests/servers.py` is the way in.

    binaries      finds or fetches the server programs into `.deps/`
    resp          a few lines of RESP, so that no client program is needed
    nodes         one server process: its port, start, readiness, signals, end
    certificates  a CA and the certificates of the TLS tests, good and bad
    tls_proxy     TLS in front of a server that was built without it
    topology      what all topologies share: description, verbs
    topologies    `single`, `password`, `acl`, `unix`, `tls`, and how one is started
    replicated    `cluster`, `sentinel`

Only the standard library is used (Python 3.11 or newer).
"""
