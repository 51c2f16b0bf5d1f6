"""JSON-RPC 2.0 messages, one per line. See https://www.jsonrpc.org/specification.

Besides the standard's own error codes: -32000 for an expected error, whose message is a sentence for the user, and
-32800 for a cancelled request (the code that language servers use).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..core import Progress
from ..core.messages import Message, is_sentence, message_from, plain_message, remember
from ..core.strict_json import to_plain, to_text

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
REPORTED_ERROR = -32000
REQUEST_CANCELLED = -32800

PROGRESS = "progress"
CANCEL = "$/cancelRequest"
ALIVE = "alive"
"""What a client may send every few seconds; a server that has heard it ends when it hears nothing any more."""


def request_line(identifier: int, method: str, params: Any) -> str:
    """A request as one line, newline included."""
    return _line({"id": identifier, "method": method, "params": params})


def notification_line(method: str, params: Any) -> str:
    """A notification (no answer expected) as one line."""
    return _line({"method": method, "params": params})


def result_line(identifier: int, result: Any) -> str:
    """An answer as one line; sentences in it that can be translated travel with their templates, in `messages`."""
    plain = to_plain(result)
    messages = {str(message): plain_message(message) for message in _messages_in(plain) if is_sentence(message)}
    return _line({"id": identifier, "result": plain} | ({"messages": messages} if messages else {}))


def result_of(answer: dict[str, Any]) -> Any:
    """The result of an answer, with the templates of the sentences that have one."""
    messages = answer.get("messages")
    if not isinstance(messages, dict):
        return answer.get("result")
    found = {text: message_from(plain) for text, plain in messages.items()}
    for message in found.values():
        if isinstance(message, Message):
            remember(message)
    return _with_messages(answer.get("result"), found)


def error_line(identifier: int | None, code: int, message: str, data: dict[str, Any] | None = None) -> str:
    """An error answer as one line; a message that can be translated travels with its template, in `data`."""
    data = dict(data or {})
    if isinstance(message, Message):
        data["message"] = plain_message(message)
    error = {"code": code, "message": str(message)} | ({"data": data} if data else {})
    return _line({"id": identifier, "error": error})


def error_message(error: dict[str, Any]) -> str:
    """The message of an error answer, with its template where it has one."""
    data = error.get("data")
    if isinstance(data, dict) and "message" in data:
        return message_from(data["message"])
    return str(error.get("message", "The worker reported an error without a message."))


def progress_line(identifier: int, progress: Progress) -> str:
    """A progress notification for a request as one line."""
    return notification_line(PROGRESS, {"id": identifier, **vars(progress), "message": plain_message(progress.message)})


def progress_from(params: dict[str, Any]) -> tuple[int, Progress]:
    """The request that a progress notification is about, and the progress."""
    content = dict(params)
    identifier = content.pop("id")
    return identifier, Progress(**{**content, "message": message_from(content["message"])})


def parsed(line: str | bytes) -> dict[str, Any]:
    """A line as a message. Raises ValueError when it is not a JSON-RPC 2.0 message."""
    message = json.loads(line)
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise ValueError("not a JSON-RPC 2.0 message")
    return message


def _messages_in(plain: Any) -> Iterator[Message]:
    if isinstance(plain, Message):
        yield plain
    elif isinstance(plain, (dict, list)):
        for item in plain.values() if isinstance(plain, dict) else plain:
            yield from _messages_in(item)


def _with_messages(plain: Any, messages: Mapping[str, str]) -> Any:
    if isinstance(plain, str):
        return messages.get(plain, plain)
    if isinstance(plain, list):
        return [_with_messages(item, messages) for item in plain]
    if isinstance(plain, dict):
        return {name: _with_messages(item, messages) for name, item in plain.items()}
    return plain


def _line(content: dict[str, Any]) -> str:
    return to_text({"jsonrpc": "2.0", **content}) + "\n"
