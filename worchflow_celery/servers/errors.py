"""What can go wrong with a server, in words that never carry a password."""


class ServersUnavailable(RuntimeError):
    """A server is missing, did not start, does not answer, or is not ours to control."""


class PortTaken(ServersUnavailable):
    """Somebody else has the port: another one may do."""


def masked(url: str) -> str:
    """Return the URL without its password and its options, which may hold secrets as well."""
    scheme, separator, rest = url.partition("://")
    rest = rest.partition("?")[0]
    # Split by hand: a URL parser quotes the password when it cannot make sense of the URL.
    credentials, at, place = rest.rpartition("@")
    if not at:
        return f"{scheme}{separator}{place}"
    return f"{scheme}{separator}{credentials.partition(':')[0]}:***@{place}"
