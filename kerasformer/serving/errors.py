"""What a served model answers when it cannot answer: the codes that gRPC, TensorFlow and its server share."""

# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto, by number
CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)

# TensorFlow Serving, model_servers/http_server.cc
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


class ServingError(RuntimeError):
    """A served model refused a request, or could not be reached.

    Attributes:
        code: one of the names in `CODES`, such as "INVALID_ARGUMENT", "NOT_FOUND" or "UNAVAILABLE". Over REST several
            codes share one HTTP status: FAILED_PRECONDITION arrives as INVALID_ARGUMENT.
        message: what was wrong, without the code.
    """

    def __init__(self, code, message):
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self):
        return f"{self.code}: {self.message}"


UNREACHABLE_HINT = (
    "Check the address (gRPC is usually port 8500; REST is port 8501, with http://) and that the server runs: "
    "`kerasformer serve FOLDER`."
)


def too_slow(address, timeout):
    """The message for a server that did not answer in time."""
    return f"{address} did not answer within {timeout:g} seconds. Send fewer examples at once, or raise `timeout`."
