"""Messages: English text that can be translated afterwards, here and after a journey through JSON."""

from __future__ import annotations

import copy
import json

import pytest

from SparseAnnotateLib.client import jsonrpc
from SparseAnnotateLib.core import BadInputError, Progress
from SparseAnnotateLib.core.messages import (
    Message,
    _,
    counted,
    joined,
    listed,
    message_from,
    plain_message,
    remembered,
    translated,
)
from SparseAnnotateLib.core.strict_json import to_text
from SparseAnnotateLib.interpolation import INTERPOLATORS
from SparseAnnotateLib.runs import LOSSES, NETWORKS, PRESETS
from SparseAnnotateLib.selection import FEATURES, STRATEGIES

GERMAN = {
    "There is no case '{name}'.": "Es gibt keinen Fall '{name}'.",
    "drawn": "gezeichnet",
    "The slice is {state}.": "Die Schicht ist {state}.",
    "{count} volume": "{count} Volumen",
    "{count} volumes": "{count} Volumina",
}


def german(_context: str, text: str) -> str:
    return GERMAN.get(text, text)


def through_json(message: str) -> str:
    return message_from(json.loads(json.dumps(plain_message(message))))


def same(message: str) -> str:
    return message


@pytest.mark.parametrize("journey", [same, through_json, copy.deepcopy])
@pytest.mark.parametrize(
    ("message", "english", "in_german"),
    [
        (
            _("There is no case '{name}'.").format(name="a{b}"),
            "There is no case 'a{b}'.",
            "Es gibt keinen Fall 'a{b}'.",
        ),
        (_("drawn"), "drawn", "gezeichnet"),
        (_("The slice is {state}.").format(state=_("drawn")), "The slice is drawn.", "Die Schicht ist gezeichnet."),
        (counted(1, _("{count} volume"), _("{count} volumes")), "1 volume", "1 Volumen"),
        (counted(2, _("{count} volume"), _("{count} volumes")), "2 volumes", "2 Volumina"),
        (_("drawn") + " (3)", "drawn (3)", "gezeichnet (3)"),
        ("3: " + _("drawn"), "3: drawn", "3: gezeichnet"),
        (joined(", ", [_("drawn"), "b", _("drawn")]), "drawn, b, drawn", "gezeichnet, b, gezeichnet"),
        (
            _("Nobody has translated {x:.2f}.").format(x=0.5),
            "Nobody has translated 0.50.",
            "Nobody has translated 0.50.",
        ),
        ("plain {text}", "plain {text}", "plain {text}"),
    ],
)
def test_a_message_is_english_text_and_can_be_translated(message, english, in_german, journey):
    found = journey(message)
    assert (str(found), translated(found, german)) == (english, in_german)


@pytest.mark.parametrize("wrong", ["{unknown}", "{", "{0}", "{index.name}", "{index[0]}"])
def test_a_translation_that_does_not_fit_is_shown_in_english(wrong):
    assert translated(_("Slice {index}").format(index=3), lambda *_: wrong) == "Slice 3"


def test_the_context_is_the_folder_and_the_file_as_in_slicer():
    contexts = []
    translated(_("drawn"), lambda context, text: contexts.append(context) or text)
    assert contexts == ["core.test_messages"]


def test_an_error_and_progress_of_the_worker_arrive_with_their_templates():
    error = BadInputError(_("There is no case '{name}'.").format(name="x"))
    line = jsonrpc.error_line(1, jsonrpc.REPORTED_ERROR, error.message, {"type": "BadInputError"})
    assert jsonrpc.parsed(line)["error"]["message"] == "There is no case 'x'."
    assert translated(jsonrpc.error_message(jsonrpc.parsed(line)["error"]), german) == "Es gibt keinen Fall 'x'."
    progress = Progress(0.5, _("The slice is {state}.").format(state=_("drawn")), 3.0, {"loss": 1.0})
    identifier, found = jsonrpc.progress_from(jsonrpc.parsed(jsonrpc.progress_line(7, progress))["params"])
    assert (identifier, found) == (7, progress)
    assert translated(found.message, german) == "Die Schicht ist gezeichnet."


def test_sentences_in_a_result_of_the_worker_arrive_with_their_templates():
    warning = _("There is no case '{name}'.").format(name="x")
    result = [{"case": "x", "warnings": [warning, "plain"], "state": _("drawn"), "figures": {"dice": 0.5}}]
    answer = jsonrpc.parsed(jsonrpc.result_line(7, result))
    assert answer["result"] == result
    (found,) = jsonrpc.result_of(answer)
    assert found == result[0]
    assert [translated(text, german) for text in found["warnings"]] == ["Es gibt keinen Fall 'x'.", "plain"]
    # A single word may be a name that a user gave; the panel translates the words of states itself.
    assert translated(found["state"], german) == "drawn"
    assert jsonrpc.result_of(jsonrpc.parsed(jsonrpc.result_line(7, ["plain", None]))) == ["plain", None]


def test_errors_without_a_sentence_or_with_a_plain_one_have_a_message():
    assert BadInputError("plain").message == "plain"
    assert isinstance(BadInputError(_("drawn")).message, Message)
    assert BadInputError().message == ""


@pytest.mark.parametrize(
    ("names", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a, b"), (["a", "b", "c", "d"], "a, b and 2 more")]
)
def test_the_first_names_are_listed_with_how_many_more_there_are(names, text):
    assert listed(names, 2) == text


def test_a_message_is_recognized_by_its_text_after_it_was_stored():
    stored = json.loads(to_text([_("There is no case '{name}'.").format(name="stored")]))[0]
    assert type(stored) is str
    assert translated(stored, german) == "There is no case 'stored'."
    assert translated(remembered(stored), german) == "Es gibt keinen Fall 'stored'."
    assert translated(joined(" ", [_("drawn"), stored]), german) == "gezeichnet Es gibt keinen Fall 'stored'."


@pytest.mark.parametrize(
    "message",
    [
        _("fill"),
        _("{text}").format(text="fill"),
        _("{first} {second}").format(first="left", second="lung"),
        _("volume {number}").format(number=2),
        joined(" ", ["left", _("lung")]),
    ],
)
def test_a_word_or_a_user_s_own_text_is_not_taken_for_a_stored_message(message):
    to_text(message)
    assert type(remembered(str(message))) is str


@pytest.mark.parametrize("parts", [STRATEGIES, FEATURES, INTERPOLATORS, PRESETS, NETWORKS, LOSSES])
def test_every_part_has_a_label_and_a_description_that_can_be_translated(parts):
    for part in parts.values():
        assert isinstance(part.label, Message), part.name
        assert isinstance(part.description, Message), part.name


@pytest.mark.parametrize("message", [joined("", ["the same text"]), _("{text}").format(text="the same text")])
def test_a_stored_message_may_consist_of_its_own_text(message):
    to_text(message)
    assert translated(remembered("the same text"), german) == "the same text"


def test_a_name_in_a_result_that_equals_a_word_of_the_program_stays_a_name():
    line = jsonrpc.result_line(
        1, {"case": "drawn", "state": _("drawn"), "note": _("The slice is {state}.").format(state=1)}
    )
    found = jsonrpc.result_of(jsonrpc.parsed(line))
    assert translated(found["case"], german) == "drawn"
    assert translated(found["note"], german) == "Die Schicht ist 1."
