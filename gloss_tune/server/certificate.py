"""A certificate that a server signs itself: the connection is encrypted, and the password proves who is there.

Clients check no authority. They ask for channel binding instead: only who knows the password's hash can be at the
other end of the encrypted connection (RFC 5802), so that no certificate has to be handed to them.
"""

from __future__ import annotations

import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

from gloss_tune.atomic import write_secret
from gloss_tune.logging import logger
from gloss_tune.server.folder import Folder

_DAYS = 3650
_NAME = "gloss-tune"
_ANSWER_SECONDS = 60.0


def certificate_paths(folder: Folder) -> tuple[Path, Path]:
    """Where the certificate and its key are."""
    return folder.tls / "server.crt", folder.tls / "server.key"


def ensure_certificate(folder: Folder) -> str:
    """Make a certificate with its key, unless it is there.

    Returns:
        By what it was made, empty where nothing here can.
    """
    made_by = folder.tls / "made-by"
    certificate, key = certificate_paths(folder)
    if all(path.is_file() for path in (certificate, key, made_by)):
        return made_by.read_text(encoding="utf-8").strip()
    folder.tls.mkdir(mode=0o700, exist_ok=True)
    maker = (
        "openssl"
        if _by_openssl(certificate, key)
        else "cryptography"
        if _by_library(certificate, key)
        else ""
    )
    if maker:
        write_secret(made_by, maker + "\n")
    return maker


def _by_openssl(certificate: Path, key: Path) -> bool:
    openssl = shutil.which("openssl")
    if openssl is None:
        return False
    write_secret(key, "")  # openssl fills the file and leaves its permissions
    command = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-sha256",
    ]
    command += ["-days", str(_DAYS), "-subj", f"/CN={_NAME}", "-keyout", str(key), "-out", str(certificate)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("openssl makes no certificate: %s.", error)
        return False
    key.chmod(0o600)
    if done.returncode:
        logger.warning(
            "openssl makes no certificate: %s", (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        )
    return not done.returncode


def _by_library(certificate: Path, key: Path) -> bool:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError:
        return False
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    now = datetime.now(timezone.utc)
    signed = (
        x509.CertificateBuilder(name, name, secret.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_DAYS))
        .sign(secret, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = secret.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_secret(key, private.decode())
    write_secret(certificate, signed.public_bytes(encoding).decode())
    return True
