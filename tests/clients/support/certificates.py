"""An authority and a server certificate for 127.0.0.1, made with openssl for one run."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = Solvegate test
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = IP:127.0.0.1, DNS:localhost
"""


@dataclass(frozen=True)
class Certificates:
    authority: Path
    chain: Path
    key: Path


def make_certificates(directory):
    def openssl(*arguments):
        command = ["openssl", *arguments]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stderr}"

    (directory / "openssl.cnf").write_text(CONFIG)
    for name in ("authority", "server"):
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.ec")
        openssl("pkcs8", "-topk8", "-nocrypt", "-in", f"{name}.ec", "-out", f"{name}.key")
    openssl(
        *"req -x509 -new -key authority.key -days 30 -config openssl.cnf".split(),
        *"-extensions authority -subj /CN=Solvegate-test-authority -out authority.crt".split(),
    )
    openssl(*"req -new -key server.key -config openssl.cnf -subj /CN=127.0.0.1 -out server.csr".split())
    openssl(
        *"x509 -req -in server.csr -CA authority.crt -CAkey authority.key -set_serial 2".split(),
        *"-days 30 -extfile openssl.cnf -extensions server -out server.crt".split(),
    )
    chain = directory / "chain.crt"
    chain.write_bytes((directory / "server.crt").read_bytes() + (directory / "authority.crt").read_bytes())
    return Certificates(directory / "authority.crt", chain, directory / "server.key")
