"""What Go's host did with 236 log streams, what the oracle says of them, and what ours does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.golden import corpus, ours
from tests.reference import hclog as reference
from tests.reference.hclog import Record, comparable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.golden.corpus import Case, GoRecord

CASES = {case.name: case for case in corpus.load()}
HOST_LEVELS = ["trace", "info", "error", "off"]


def test_the_corpus_is_whole() -> None:
    assert len(CASES) == 236


# The oracle, by Go's rules


@pytest.mark.parametrize("level", HOST_LEVELS)
def test_the_oracle_knows_what_go_logs(level: str) -> None:
    wrong = {}
    for case in CASES.values():
        said, logged = said_of_go(case, level), went(case.logged(level))
        if said != logged:
            wrong[case.name] = said, logged
    assert wrong == {}


def said_of_go(case: Case, level: str) -> list[tuple[object, ...]] | str:
    """The logger's calls as the oracle has them."""
    try:
        records = reference.read_as_go(case.stream, case.buffer_size, level)
    except reference.GoPanicsError:
        return "the host died"
    calls: list[tuple[object, ...]] = []
    for record in records:
        message = record.message.encode("utf-8", "surrogateescape")
        fields, arguments = record.fields, 0
        if record.timestamp is not None:
            arguments = 2 * len(fields) + 2
            fields = {**fields, "timestamp": record.timestamp}
        calls.append((record.level, message, arguments, reference.shown(fields)))
    return calls


def went(records: list[GoRecord] | None) -> list[tuple[object, ...]] | str:
    """The same calls as they were recorded."""
    if records is None:
        return "the host died"
    return [
        (record.level, record.message, record.arguments, reference.shown(record.fields("floats")))
        for record in records
    ]


def test_the_oracle_knows_what_go_copies() -> None:
    for case in CASES.values():
        assert reference.raw_copy(case.stream, case.buffer_size) == case.stderr, case.name


# Ours


@pytest.mark.parametrize("level", HOST_LEVELS)
async def test_ours_logs_what_go_logs_but_for_the_differences(level: str) -> None:
    wrong: dict[str, object] = {}
    for case in CASES.values():
        logged = await ours.to_logger([case.stream], level, case.buffer_size)
        got = comparable(with_gos_time(logged.records))
        wanted = comparable(at_level(expected(case), level))
        if got != wanted:
            wrong[case.name] = got, wanted
        if logged.stderr != case.stderr:
            wrong[f"copy of {case.name}"] = logged.stderr, case.stderr
    assert wrong == {}


async def test_a_sink_gets_the_same_and_each_line() -> None:
    wrong = {}
    for case in CASES.values():
        logged = await ours.to_sink([case.stream], "trace", case.buffer_size)
        lines = [line.text for line in reference.split(case.stream, case.buffer_size) if line.text]
        got = logged.lines, comparable(with_gos_time(logged.records))
        wanted = lines, comparable(expected(case))
        if got != wanted:
            wrong[case.name] = got, wanted
    assert wrong == {}


def at_level(records: list[Record], level: str) -> list[Record]:
    """Those that a logger of this level gets."""
    if level == "off":
        return []
    enabled = reference.LEVELS[reference.LEVELS.index(level) :]
    return [record for record in records if record.level in enabled]


def with_gos_time(records: list[Record]) -> list[Record]:
    """Ours has the time as the plugin wrote it, Go as its host writes it."""
    return [
        record
        if record.timestamp is None
        else replace(record, timestamp=reference.go_time(record.timestamp))
        for record in records
    ]


def test_comparing_sees_types_and_times() -> None:
    values: list[Any] = [1, 1.0, True, None, "1", 0.0, -0.0, [], {}]
    records = [Record("info", "m", "", {"a": value}) for value in values]
    assert len({str(comparable([record])) for record in records}) == len(values)
    record = Record("info", "m", "", {}, "2026-11-23T9:26:30,123456+00:00")
    assert comparable([record]) != comparable(with_gos_time([record]))
    assert with_gos_time([record])[0].timestamp == "2026-11-23T09:26:30.123Z"


# The differences


@dataclass(frozen=True)
class Difference:
    """One way in which ours is meant to differ from Go, and the cases where it does."""

    reason: str
    # From what Go logs to what ours logs.
    apply: Callable[[Case, list[Record]], list[Record]]
    cases: str

    def names(self) -> list[str]:
        """The cases by name."""
        return self.cases.split()


def expected(case: Case) -> list[Record]:
    """What ours should log at trace."""
    records = [as_record(record) for record in case.records or []]
    for difference in DIFFERENCES:
        if case.name in difference.names():
            records = difference.apply(case, records)
    return records


def as_record(record: GoRecord) -> Record:
    """What Go logs, with the time that it adds to the fields beside them.

    To an entry without one it adds the first second of the year 1; we have none.
    """
    fields = record.fields("floats")
    time = fields.pop("timestamp") if record.arguments else None
    message = record.message.decode("utf-8", "surrogateescape")
    return Record(record.level, message, "", fields, None if time == reference.NO_TIME else time)


def is_entry(record: GoRecord) -> bool:
    """Whether Go knew the line for hclog's JSON: then it adds a time."""
    return record.arguments > 0


def text(case: Case, records: list[Record]) -> list[Record]:
    return [Record("info", case.stream.decode().removesuffix("\n"))]


def integers(case: Case, records: list[Record]) -> list[Record]:
    return [
        with_integers(go, record) for go, record in zip(case.records or [], records, strict=True)
    ]


def with_integers(go: GoRecord, record: Record) -> Record:
    fields = go.fields("exact")
    return replace(record, fields={name: fields[name] for name in record.fields})


def digits(case: Case, records: list[Record]) -> list[Record]:
    exact = {
        "neg_zero": {"a": 0},
        "big_int": {
            "a": 9007199254740993,
            "b": 18446744073709551615,
            "c": 123456789012345678901234567890,
        },
    }
    (record,) = records
    return [replace(record, fields={**record.fields, **exact[case.name]})]


def module(case: Case, records: list[Record]) -> list[Record]:
    return [with_module(record) for record in records]


def with_module(record: Record) -> Record:
    fields = dict(record.fields)
    return replace(record, module=fields.pop("@module", record.module), fields=fields)


def users_timestamp(case: Case, records: list[Record]) -> list[Record]:
    (record,) = records
    return [replace(record, fields={**record.fields, "timestamp": "user"})]


def pretty(case: Case, records: list[Record]) -> list[Record]:
    return [Record("info", "msg: key=value", "mod")]


def info(case: Case, records: list[Record]) -> list[Record]:
    return [
        replace(record, level="info")
        if record.level == "debug" and not is_entry(go) and not go.message.startswith(b"[DEBUG]")
        else record
        for go, record in zip(case.records or [], records, strict=True)
    ]


def replaced(case: Case, records: list[Record]) -> list[Record]:
    return [
        replace(record, message=reference.SURROGATE.sub("\ufffd", record.message))
        for record in records
    ]


def dropped(case: Case, records: list[Record]) -> list[Record]:
    pairs = zip(case.records or [], records, strict=True)
    return [record for go, record in pairs if is_entry(go) or record.message]


# In the order in which they are applied.
DIFFERENCES = [
    Difference(
        "Go's host dies where a special member is no string",
        text,
        """
        message_number message_null message_object message_array message_bool
        level_number level_null level_object timestamp_number timestamp_null timestamp_object
        panic_order_ts_bad_msg_bad
        """,
    ),
    Difference(
        "a Python host knows integers from floats",
        integers,
        """
        hclog_fields two_lines timestamp_missing empty_key key_with_space dup_field
        dup_nested_objects nested_specials module_number bad_utf8_json_key bad_utf8_dup_keys
        lone_in_key deep_objects
        """,
    ),
    Difference(
        "and loses no digit of them; an integer has no negative zero", digits, "neg_zero big_int"
    ),
    Difference(
        "a record says itself which module it is of",
        module,
        """
        hclog_minimal hclog_fields hclog_caller two_lines field_named_timestamp empty_key
        key_with_space leading_spaces leading_tab_cr trailing_spaces raw_del_in_string neg_zero
        big_int float_exp float_long dup_field dup_nested_objects nested_specials panic_then_json
        crlf_json no_final_newline_json nul_escape bad_utf8_json_field bad_utf8_json_key
        bad_utf8_truncated bad_utf8_overlong bad_utf8_surrogate bad_utf8_f5 bad_utf8_dup_keys
        noncharacter surrogate_pair lone_high lone_low high_high_low high_then_escape lone_in_key
        high_then_nonsurrogate_u deep_100 buf64k_json_60k buf_big_128k
        """,
    ),
    Difference(
        "what the plugin calls timestamp is a field like any other: the time stands beside them",
        users_timestamp,
        "field_named_timestamp",
    ),
    Difference("hclog's pretty form is read", pretty, "hclog_pretty"),
    Difference(
        "what has no level is info: it is what a Python program prints",
        info,
        """
        level_kelvin level_off level_all level_fatal level_warning level_critical level_empty
        level_missing keys_case multi_line_message json_empty_object json_other_object json_null
        json_null_spaces json_array json_string json_number json_true leading_formfeed leading_nbsp
        bom trunc_object trailing_garbage two_objects_one_line trailing_comma single_quotes
        unquoted_key comment nan infinity neg_infinity leading_zero plus_number dot_number
        dot_end_number hex_number lone_minus bad_escape bad_unicode_escape raw_tab_in_string
        raw_ctrl_in_string unclosed_string uppercase_true float_overflow float_overflow_nested
        ts_offset_nocolon ts_offset_25 ts_offset_missing ts_lower_z ts_millis ts_nanos
        ts_no_fraction ts_seven_digits ts_space_sep ts_lower_t ts_trailing ts_leading ts_empty
        ts_feb29_nonleap ts_feb29_1900 ts_month13 ts_month00 ts_day00 ts_day31_apr ts_hour24
        ts_min60 ts_sec60 ts_one_digit_min ts_one_digit_month ts_one_digit_sec ts_year5 ts_neg_year
        ts_sign_fraction plain pfx_err pfx_lower pfx_warning pfx_padded pfx_leading_space
        go_log_std panic_then_json_nolevel panic_nospace panic_indented panic_capital before_panic
        panic_long_continuation in_panic_long crlf_plain cr_only cr_cr_lf cr_at_eof
        no_final_newline_plain ws_only trailing_ws_plain vt_ff_nel nul_plain nul_only
        nul_in_json_string nul_after_json bad_utf8_plain bad_utf8_no_level bad_utf8_outside latin1
        high_bad_escape ansi deep_10000 deep_unclosed buf_len_62 buf_len_63 buf_len_64 buf_len_65
        buf_len_127 buf_len_128 buf_len_129 buf_cr_at_edge buf_cr_at_edge2 buf_cr_only_edges
        buf_eof_in_piece buf_eof_at_edge buf_eof_63 buf_json_over buf_prefix_over
        buf_json_in_pieces buf_split_utf8 buf_small_16 buf64k_len_65534 buf64k_len_65535
        buf64k_len_65536 buf64k_json_100k
        """,
    ),
    Difference(
        "a text is a str: a byte that is no UTF-8 is U+FFFD, as in Go's JSON",
        replaced,
        """
        bad_utf8_plain bad_utf8_prefixed bad_utf8_no_level bad_utf8_outside latin1 buf_split_utf8
        """,
    ),
    Difference(
        "an empty line is no message",
        dropped,
        """
        panic_trace fatal_error empty_line three_empty crlf_empty buf_len_64 buf_len_128
        buf_cr_at_edge buf64k_len_65536
        """,
    ),
]


def test_every_listed_difference_is_one() -> None:
    """Each changes what Go logs in each of its cases."""
    for difference in DIFFERENCES:
        for name in difference.names():
            records = [as_record(record) for record in CASES[name].records or []]
            changed = difference.apply(CASES[name], records)
            assert comparable(changed) != comparable(records), (difference.reason, name)


def test_the_oracle_of_ours_knows_the_differences() -> None:
    wrong = {}
    for case in CASES.values():
        said = comparable(with_gos_time(reference.read(case.stream, case.buffer_size)))
        wanted = comparable(expected(case))
        if said != wanted:
            wrong[case.name] = said, wanted
    assert wrong == {}
