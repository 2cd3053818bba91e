"""What can be wrong with a row or a file: every code, what it means, and whether the row is left out."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    meaning: str
    drops: bool         # the row is not trained


ROW_CODES: dict[str, Code] = {
    # the line
    "not_utf8": Code("the line is not UTF-8", True),
    "line_too_long": Code("the line is longer than 100 MB", True),
    "bad_json": Code("the line is not one JSON value", True),
    "nesting_too_deep": Code("brackets are nested deeper than can be read", True),
    "too_many_values": Code("the line has over a million commas and brackets: no row of text has", True),
    "json_number": Code("NaN, Infinity or a number of thousands of digits", True),
    "lone_surrogate": Code("half of a \\ud800…\\udfff pair, which is no character", True),
    "not_object": Code("the line is JSON, but not an object {…}", True),
    # the shape
    "missing_field": Code("no field of any known format, or a field of the row's format is missing", True),
    "bad_field": Code("a field has another type than its format says", True),
    "other_format": Code("the row has another format than most rows of the file", True),
    "unsupported_format": Code("the format is known, but not supported", True),
    "unknown_role": Code("a message is by none of system, user, assistant, tool", True),
    "bad_weight": Code("a message's weight is neither 0 nor 1", True),
    "not_text": Code("a message holds something else than text, such as an image", True),
    "bad_tool": Code("a tool or a tool call is not described as the format says", True),
    "tools_unsupported": Code("the base model's chat template has no place for tools", True),
    "template_refuses": Code("the base model's chat template does not take such a conversation", True),
    "empty_content": Code("a user's or assistant's message, or the text, is empty", True),
    "no_assistant_turn": Code("nobody answers: there is nothing to learn", True),
    # the tokens
    "no_trainable_token": Code("no token of the row would be trained", True),
    "too_long": Code("more tokens than max_length; `too_long` says what was done", True),
    "truncated": Code("cut to max_length", False),
    # worth knowing
    "sequence_conflict": Code("question and answer differ in their stop or think sequence; left so", False),
    "last_turn_not_assistant": Code("what follows the last answer is read, not trained", False),
    "undeclared_tool": Code("a call names a tool that the row does not declare", False),
    "unpaired_result": Code("a tool's result answers no call before it", False),
    "control_text": Code("a control token is spelled out in the text; it stays text", False),
    "duplicate": Code("the same row stands earlier in the file", False),
    "trained_before": Code("the same row was trained already, in another file", False),
    "leakage": Code("the answer stands word for word in what was asked", False),
}

FILE_ROW_CODES: dict[str, Code] = {
    "not_jsonl": Code("the name does not end in .jsonl, or the content is not JSON Lines", True),
    "no_rows": Code("the file has no rows", True),
    "file_too_large": Code("the file is larger than 10 GB", True),
    "changed": Code("the bytes read are not the bytes that were hashed", True),
    "chat_unsupported": Code("the base model cannot be trained on chats", True),
    "check_failed": Code("the check takes too much memory or time, or ends its process", True),
    "in_fixed_set": Code("every usable row stands in the fixed validation set", True),
}


# No fault of a row, a template or a base, and never told as one: it must not decide what is trained.
MACHINE_FAULTS = (MemoryError, OSError)


class BadRow(ValueError):
    """A row cannot be used; `code` is one of `ROW_CODES`, the message never quotes the row."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
