"""How a served model refuses: gRPC's status codes, and those of HTTP for them."""

from __future__ import annotations

HTTP_STATUS = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
"""What TensorFlow Serving answers over HTTP, by the code (its `http_server.cc`)."""

# gRPC carries a message in a header, and headers have room for 8 KiB.
_LONGEST_MESSAGE = 1_000


class RequestRefused(Exception):
    """A request that is not answered.

    Args:
        code: gRPC's name of the reason, such as "INVALID_ARGUMENT".
        message: One line that names what is wrong; a long one is cut.
        http: The status over HTTP, where it is not the one that the code stands for.
        retry_after: Seconds after which the same may be asked again, where it may.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        http: int | None = None,
        retry_after: int | None = None,
    ) -> None:
        message = " ".join(message.split())
        if len(message) > _LONGEST_MESSAGE:
            message = message[: _LONGEST_MESSAGE - 3] + "..."
        super().__init__(message)
        self.code = code
        self.message = message
        self.http = HTTP_STATUS[code] if http is None else http
        self.retry_after = retry_after
