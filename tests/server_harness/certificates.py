"""A CA and the certificates of the TLS tests, made by the openssl program in about 0.2 s.

| name | what a correct client does with it |
|---|---|
| server | accepts: localhost, 127.0.0.1, ::1, signed by `ca` |
| wronghost | refuses: right CA, another name |
| expired | refuses: right CA and name, ended in 2021 |
| untrusted | refuses: right name, signed by `otherca` |
| client | shows it to a server that asks for one |
"""

import subprocess

from . import binaries

_CA_CONFIG = """
[ca]
default_ca = lc
[lc]
database = {folder}/{ca}.index
serial = {folder}/{ca}.serial
new_certs_dir = {folder}
certificate = {folder}/{ca}.crt
private_key = {folder}/{ca}.key
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[leaf]
basicConstraints = CA:FALSE
subjectAltName = {names}
"""

_HERE = "DNS:localhost,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1"
_VALID = ("20200101000000Z", "20491231235959Z")
_OVER = ("20200101000000Z", "20210101000000Z")
_LEAVES = {
    "server": ("ca", _HERE, _VALID),
    "wronghost": ("ca", "DNS:elsewhere.invalid", _VALID),
    "expired": ("ca", _HERE, _OVER),
    "untrusted": ("otherca", _HERE, _VALID),
    "client": ("ca", "DNS:lc-client", _VALID),
}


def make(folder):
    """Writes all files into `folder` and returns {"ca": path, "server": path, "server_key": path, ...}."""
    folder.mkdir()
    paths = {}
    for ca in ("ca", "otherca"):
        extensions = "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign".split()
        subject = ["-days", "3650", "-subj", f"/CN=lc test {ca}"]
        _openssl("req", "-x509", *_key(folder, ca), *subject, *extensions, "-out", folder / f"{ca}.crt")
        (folder / f"{ca}.index").touch()
        (folder / f"{ca}.serial").write_text("01\n")
        paths[ca] = str(folder / f"{ca}.crt")
    for name, (ca, names, (start, end)) in _LEAVES.items():
        config = folder / f"{name}.cnf"
        config.write_text(_CA_CONFIG.format(folder=folder, ca=ca, names=names))
        _openssl("req", *_key(folder, name), "-out", folder / f"{name}.csr", "-subj", f"/CN={name}")
        span = ["-startdate", start, "-enddate", end]
        files = ["-config", config, "-in", folder / f"{name}.csr", "-out", folder / f"{name}.crt"]
        _openssl("ca", "-batch", "-notext", "-extensions", "leaf", *span, *files)
        paths[name] = str(folder / f"{name}.crt")
        paths[f"{name}_key"] = str(folder / f"{name}.key")
    return paths


def _key(folder, name):
    return [*"-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout".split(), folder / f"{name}.key"]


def _openssl(*arguments):
    program, env = binaries.openssl()
    done = subprocess.run(
        [program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, env=env
    )
    if done.returncode != 0:
        raise binaries.Unavailable(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
