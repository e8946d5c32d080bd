"""Send one request over a new connection, with any client certificate.

With TLS 1.3 the client's handshake ends before the server has verified the client certificate. Only an answer proves
that the server accepts it.
"""

import asyncio
import ssl

TIMEOUT_S = 5.0
# Only the first bytes of an answer are read: `HTTP/1.1 200`.
STATUS_END = 12


def closed(error: OSError) -> str:
    """Return that the other end closed the connection, with the reason if the system has one."""
    return ": ".join(filter(None, ("it closed the connection", error.strerror or str(error))))


async def why_no_answer(address: str, port: int, name: str, context: ssl.SSLContext) -> str:
    """Return why a port does not answer, or an empty text if it does. `name` is in the certificate of the server."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            status = await _request_status(address, port, name, context)
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:.0f} s"
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not valid: {error.verify_message}"
    except ssl.SSLError as error:
        return f"it rejected the handshake: {_alert_text(error)}"
    except OSError as error:
        return closed(error)
    if not status:
        return "it closed the connection: no process listens on the port, or it rejects the certificate"
    return "" if status == b"200" else f"it answered {status.decode(errors='replace')}"


async def _request_status(address: str, port: int, name: str, context: ssl.SSLContext) -> bytes:
    """Return the HTTP status of /version, which both ports answer."""
    reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=name)
    try:
        writer.write(f"GET /version HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        return (await reader.readexactly(STATUS_END))[STATUS_END - 3 :]
    except asyncio.IncompleteReadError:
        return b""
    finally:
        # The answer is read, and etcd may take 5 s to end the connection. So this side does not wait for the end.
        writer.transport.abort()


def _alert_text(error: ssl.SSLError) -> str:
    """Return the TLS alert of the other side: `bad certificate` for `TLSV1_ALERT_BAD_CERTIFICATE`."""
    reason = (error.reason or str(error)).lower().replace("_", " ")
    return reason.rpartition(" alert ")[2]
