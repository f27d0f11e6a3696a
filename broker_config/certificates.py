"""Certificates for a test fleet: an authority, one for the broker and one for each client."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker_config.file_modes import write_open, write_secret
from wire.errors import InputError
from wire.output_files import os_error_text

AUTHORITY_DAYS, LEAF_DAYS = 3650, 825
CLOCKS_DIFFER = timedelta(minutes=5)
LONGEST_COMMON_NAME = 64
"""Limit of X.520. User names fit; names of hosts and authorities are cut, since nothing reads them."""


@dataclass(frozen=True)
class SignedCertificate:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, certificate: Path, key: Path) -> None:
        """Write both as PEM; only the owner can read the key."""
        pem = serialization.Encoding.PEM
        write_open(certificate, self.certificate.public_bytes(pem))
        pkcs8, bare = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        write_secret(key, self.key.private_bytes(pem, pkcs8, bare))


@dataclass(frozen=True)
class Authority:
    """The certificate authority of a fleet's broker and its clients."""

    signed: SignedCertificate

    @classmethod
    def new(cls, name: str, now: datetime | None = None) -> Self:
        """Return an authority with a self-signed certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, name, key, now or datetime.now(UTC), AUTHORITY_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(signs=True), critical=True)
        return cls(SignedCertificate(builder.sign(key, hashes.SHA256()), key))

    @classmethod
    def read(cls, certificate: Path, key: Path) -> Self:
        """Return the authority in the files that `SignedCertificate.write` wrote.

        Raises:
            InputError: a file is missing or damaged.
        """
        try:
            loaded = serialization.load_pem_private_key(key.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise InputError(f"{key}: must be the authority's key: {_text(error)}") from None
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise InputError(f"{key}: must be the authority's key, an elliptic one")
        return cls(SignedCertificate(read_certificate(certificate), loaded))

    def revocation_list(
        self, before: bytes | None, serials: Sequence[int], now: datetime | None = None
    ) -> bytes:
        """Return the list of revoked certificates, signed, as PEM.

        It is valid as long as an authority: with a list that is over, OpenSSL would refuse every client.

        Args:
            before: the list so far; None: there is none.
            serials: numbers of further certificates.
            now: the time.
        """
        now = now or datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.signed.certificate.subject)
            .last_update(now - CLOCKS_DIFFER)
            .next_update(now + timedelta(days=AUTHORITY_DAYS))
        )
        for entry in () if before is None else x509.load_pem_x509_crl(before):
            builder = builder.add_revoked_certificate(entry)
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.signed.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def server(self, hosts: list[str], now: datetime | None = None) -> SignedCertificate:
        """Return the certificate of a broker with the names or addresses in *hosts*."""
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        return self._leaf(hosts[0], ExtendedKeyUsageOID.SERVER_AUTH, now, names)

    def client(self, user: str, now: datetime | None = None) -> SignedCertificate:
        """Return the certificate of a client with the user name *user*."""
        return self._leaf(user, ExtendedKeyUsageOID.CLIENT_AUTH, now, None)

    def _leaf(
        self,
        name: str,
        use: x509.ObjectIdentifier,
        now: datetime | None,
        names: x509.SubjectAlternativeName | None,
    ) -> SignedCertificate:
        key, authority = ec.generate_private_key(ec.SECP256R1()), self.signed.certificate
        issuer = str(authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        builder = _builder(name, issuer, key, now or datetime.now(UTC), LEAF_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(signs=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        public = self.signed.key.public_key()
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return SignedCertificate(builder.sign(self.signed.key, hashes.SHA256()), key)


def _builder(
    name: str, issuer: str, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    def name_attribute(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:LONGEST_COMMON_NAME])])

    return (
        x509.CertificateBuilder()
        .subject_name(name_attribute(name))
        .issuer_name(name_attribute(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def read_certificate(path: Path) -> x509.Certificate:
    """Return the certificate in a PEM file.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: must be a certificate: {_text(error)}") from None


def _text(error: OSError | ValueError) -> str:
    return os_error_text(error) if isinstance(error, OSError) else "it is damaged"
