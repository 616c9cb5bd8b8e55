"""TLS to Redis: from files to a context, which is made anew when one of them has changed.

May live here: certificates, keys, authorities. Must not know where Redis is, nor when a connection
is opened.
"""

from __future__ import annotations

import os
import ssl

from ..redis_url import TLSOptions

Identity = tuple[int, int, int]


class ClientTLS:
    """The client's side of TLS to Redis: its certificate, and the authorities that it trusts.

    The authorities that the options name replace those of the system.
    """

    def __init__(self, options: TLSOptions) -> None:
        self._options = options
        self._context: ssl.SSLContext | None = None
        self._made_of: list[Identity | None] = []

    def context(self) -> ssl.SSLContext:
        """Return a context made of the files as they are now.

        Raises OSError, with the option whose file cannot be used. The next call tries again.
        """
        # Not at each call: to read the authorities of a system takes 30 ms.
        made_of = [_identity(file) for file in self._files()]  # before they are read
        if self._context is None or made_of != self._made_of:
            self._context = None
            self._context = self._make()
            self._made_of = made_of
        return self._context

    def _files(self) -> list[str]:
        options = self._options
        authorities = [options.ca_certs, options.ca_path]
        if not (any(authorities) or options.ca_data):
            system = ssl.get_default_verify_paths()
            authorities = [system.cafile, system.capath]
        return [file for file in (*authorities, options.certfile, options.keyfile) if file]

    def _make(self) -> ssl.SSLContext:
        options = self._options
        for option in ("ca_certs", "ca_path", "certfile", "keyfile"):
            _look_at(f"ssl_{option}", getattr(options, option))
        try:
            context = ssl.create_default_context(
                cafile=options.ca_certs, capath=options.ca_path, cadata=options.ca_data
            )
        except (OSError, ValueError) as error:
            what = f"ssl_ca_certs {options.ca_certs!r}" if options.ca_certs else "ssl_ca_data"
            raise OSError(f"{what} cannot be used: {error}") from None
        context.check_hostname = options.check_hostname and options.cert_reqs != ssl.CERT_NONE
        context.verify_mode = options.cert_reqs
        if options.certfile is not None:
            try:
                context.load_cert_chain(
                    options.certfile,
                    options.keyfile,
                    lambda: options.password or "",  # or else it asks on the terminal
                )
            except OSError as error:
                files = " and ".join(map(repr, filter(None, (options.certfile, options.keyfile))))
                raise OSError(f"ssl_certfile {files} cannot be used: {error}") from None
        if options.min_version is not None:
            context.minimum_version = options.min_version
        if options.ciphers is not None:
            try:
                context.set_ciphers(options.ciphers)
            except ssl.SSLError as error:
                raise OSError(f"ssl_ciphers cannot be used: {error.args[0]}") from None
        return context


def _identity(file: str) -> Identity | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _look_at(option: str, file: str | None) -> None:
    """Raise OSError, with the option's name, for a file that cannot be read."""
    if file is None:
        return
    try:
        if option == "ssl_ca_path":
            os.listdir(file)
        else:
            open(file, "rb").close()
    except OSError as error:
        raise OSError(f"{option} {file!r} cannot be used: {error.strerror}") from None
