//! What a line says.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use pyplugin_rust::hclog::Level::{self, Debug, Error, Info, Warn};
use pyplugin_rust::hclog::batch::LogStream;
use pyplugin_rust::hclog::{Member, Parser, Record, Text, timestamp};
use serde_json::{Map, Value};

use crate::texts::{cases, entry, mutated, reference};

const TIME: &str = "2026-11-23T09:26:30.123456Z";
const TRACEBACK: &str = "Traceback (most recent call last):";
const GROUP: &str = "  + Exception Group Traceback (most recent call last):";
const WHILE_HANDLING: &str = "During handling of the above exception, another exception occurred:";
const CAUSE: &str = "The above exception was the direct cause of the following exception:";

fn parse(line: &str) -> Record<'_> {
    Parser::new().parse(line.as_bytes())
}

fn plain(line: &str) -> Record<'_> {
    Record::text(line.as_bytes(), Level::Info)
}

fn pretty<'a>(level: Level, module: &'a str, message: &'a str) -> Record<'a> {
    let module = Text::plain(module.as_bytes());
    Record { module, ..Record::text(message.as_bytes(), level) }
}

fn entry_of(level: Level, message: &str) -> Record<'_> {
    Record { is_entry: true, ..Record::text(message.as_bytes(), level) }
}

fn levels(lines: &[&str]) -> Vec<Level> {
    let mut parser = Parser::new();
    lines.iter().map(|line| parser.parse(line.as_bytes()).level).collect()
}

#[test]
fn levels_are_in_order_and_have_names() {
    assert!(Level::ALL.is_sorted());
    let names = ["trace", "debug", "info", "warn", "error", "off"];
    assert_eq!(Level::ALL.map(Level::name), names);
}

#[test]
fn an_entry_is_taken_apart() {
    let line = format!(
        r#"{{"@level":"warn","@message":"m","@module":"a.b","@timestamp":"{TIME}","a":1}}"#
    );
    let record = Record {
        level: Level::Warn,
        message: Text::plain(b"m"),
        module: Text::plain(b"a.b"),
        timestamp: Some(Text::plain(TIME.as_bytes())),
        is_entry: true,
        has_fields: true,
    };
    assert_eq!(parse(&line), record);
    assert_eq!(parse(&format!(" \t\r{line} \t\r")), record);
    let line = format!(
        r#"{{ "@timestamp" : "{TIME}" , "@message" : "m" , "@module" : "a.b" , "@level" : "warn" }}"#
    );
    assert_eq!(parse(&line), Record { has_fields: false, ..record });
}

#[test]
fn a_level_is_trimmed_and_has_any_case() {
    for (text, level) in [
        ("trace", Level::Trace),
        ("debug", Level::Debug),
        ("info", Level::Info),
        ("warn", Level::Warn),
        ("error", Level::Error),
        ("ERROR", Level::Error),
        ("  Warn\t", Level::Warn),
        ("\u{a0}\u{2003}debug\u{85}", Level::Debug),
        (r"\tinfo\n", Level::Info),
        (r"tr\u0061ce", Level::Trace),
        // The simple mapping of the capital I with a dot is one letter.
        ("\u{130}nfo", Level::Info),
        (r"\u0130NFO", Level::Info),
    ] {
        // Written as it is read: a raw control character makes it no JSON.
        let text = text.replace('\t', r"\t");
        let line = format!(r#"{{"@level":"{text}","@message":"m"}}"#);
        assert_eq!(parse(&line), entry_of(level, "m"), "{text}");
    }
}

#[test]
fn a_line_without_a_known_level_is_text() {
    for level in [
        "",
        " ",
        "off",
        "all",
        "fatal",
        "warning",
        "critical",
        "err",
        "in fo",
        "\u{131}nfo",
        "info\u{200b}",
    ] {
        let line = format!(r#"{{"@level":"{level}","@message":"m","a":1}}"#);
        assert_eq!(parse(&line), plain(&line));
    }
    for line in ["{}", r#"{"@message":"m"}"#, r#"{"level":"error","msg":"x"}"#, "null", " null\t"] {
        assert_eq!(parse(line), plain(line));
    }
}

#[test]
fn json_of_another_kind_is_text() {
    for line in ["[1,2]", r#""abc""#, "123", "true", r#"[{"@level":"error","@message":"m"}]"#] {
        assert_eq!(parse(line), plain(line));
    }
}

#[test]
fn a_message_may_be_missing() {
    assert_eq!(parse(r#"{"@level":"error"}"#), entry_of(Level::Error, ""));
    assert_eq!(parse(r#"{"@level":"error","@message":""}"#), entry_of(Level::Error, ""));
}

#[test]
fn an_escaped_message_is_told_as_it_is_written() {
    let record = parse(r#"{"@level":"info","@message":"a\nb\u0041"}"#);
    assert_eq!(record.message.raw(), br"a\nb\u0041");
    assert_eq!(record.message.decode(), "a\nbA");
}

#[test]
fn of_two_members_of_a_name_the_last_counts() {
    let record = parse(
        r#"{"@level":"off","@level":"warn","@message":1,"@message":"b","@module":2,"@module":"c"}"#,
    );
    let expected = Record { module: Text::plain(b"c"), ..entry_of(Level::Warn, "b") };
    assert_eq!(record, expected);
    let line = r#"{"@level":"error","@level":"off"}"#;
    assert_eq!(parse(line), plain(line));
    let line = r#"{"@level":"error","@message":"m","@message":null}"#;
    assert_eq!(parse(line), plain(line));
    let line =
        format!(r#"{{"@level":"error","@timestamp":"no","@timestamp":"{TIME}","@message":""}}"#);
    assert!(parse(&line).is_entry);
}

#[test]
fn a_name_may_be_escaped() {
    let line = r#"{"\u0040level":"error","@m\u0065ssage":"m","@modul\u0065":"a"}"#;
    let expected = Record { module: Text::plain(b"a"), ..entry_of(Level::Error, "m") };
    assert_eq!(parse(line), expected);
    let line = r#"{"@level":"error","\u0040level":"debug"}"#;
    assert_eq!(parse(line), entry_of(Level::Debug, ""));
}

#[test]
fn names_have_no_other_case() {
    let record = parse(r#"{"@level":"info","@Message":"m","@MODULE":"a"}"#);
    assert_eq!(record, Record { has_fields: true, ..entry_of(Level::Info, "") });
}

#[test]
fn specials_inside_a_field_are_fields() {
    let line = r#"{"a":{"@level":"error","@message":"b"},"@level":"info","@message":"m"}"#;
    assert_eq!(parse(line), Record { has_fields: true, ..entry_of(Level::Info, "m") });
    let line = r#"{"a":[{"@level":"error"}]}"#;
    assert_eq!(parse(line), plain(line));
}

#[test]
fn a_special_that_is_no_string_makes_a_line_plain() {
    for value in ["1", "null", "true", "{}", r#"["m"]"#] {
        for name in ["@level", "@message", "@timestamp"] {
            let line = format!(r#"{{"@level":"error","@message":"m","{name}":{value}}}"#);
            assert_eq!(parse(&line), plain(&line));
        }
        // It is a field then.
        let line = format!(r#"{{"@level":"error","@message":"m","@module":{value}}}"#);
        assert_eq!(parse(&line), Record { has_fields: true, ..entry_of(Level::Error, "m") });
    }
}

#[test]
fn a_bad_timestamp_makes_a_line_plain() {
    for time in ["", "2026-11-23T09:26:30Z", "2026-02-29T00:00:00.000000Z", "now"] {
        let line = format!(r#"{{"@level":"error","@message":"m","@timestamp":"{time}"}}"#);
        assert_eq!(parse(&line), plain(&line));
    }
    let line = r#"{"@level":"error","@timestamp":"2026-11-23T09:26:30\u002e123456\u005a"}"#;
    assert_eq!(parse(line).timestamp.map(|text| text.decode()).as_deref(), Some(TIME));
}

#[test]
fn members_have_their_meaning_by_name() {
    for (name, member) in [
        ("@level", Member::Level),
        ("@message", Member::Message),
        ("@timestamp", Member::Timestamp),
        ("@module", Member::Module),
        ("@caller", Member::Field),
        ("level", Member::Field),
        ("", Member::Field),
    ] {
        assert_eq!(Member::of(Text::plain(name.as_bytes())), member);
        let spelt: Vec<u8> = name.encode_utf16().flat_map(crate::texts::escape).collect();
        assert_eq!(Member::of(Text::new(&spelt, true)), member);
    }
}

#[test]
fn prefixes_give_a_level_and_stay() {
    for (line, level) in [
        ("[TRACE] a", Level::Trace),
        ("[DEBUG] a b: c", Level::Debug),
        ("[INFO] a", Level::Info),
        ("[WARN] a", Level::Warn),
        ("[ERROR] broken", Level::Error),
        ("[ERROR]broken", Level::Error),
        ("[ERROR]a: b", Level::Error),
        ("[ERROR]", Level::Error),
        ("[ERROR]  ", Level::Error),
        ("[WARN] a:b", Level::Warn),
        ("[WARN] : b", Level::Warn),
    ] {
        assert_eq!(parse(line), Record::text(line.as_bytes(), level));
    }
}

#[test]
fn what_is_nearly_a_prefix_is_none() {
    for line in [
        "[ERR] a",
        "[error] a",
        "[WARNING] a",
        "[ ERROR] a",
        "[ERROR a",
        "ERROR] a",
        " [ERROR] a",
        "\u{b}[ERROR] a",
        "[]",
        "[",
        "]",
        "[OFF] a",
        "a [ERROR] b",
    ] {
        assert_eq!(parse(line), plain(line));
    }
}

#[test]
fn pretty_lines_are_taken_apart() {
    for (line, expected) in [
        ("[INFO] plugin: started", pretty(Level::Info, "plugin", "started")),
        ("[WARN]  a.b/c_d-1:  two  ", pretty(Level::Warn, "a.b/c_d-1", "two  ")),
        ("[ERROR] plugin: ", pretty(Level::Error, "plugin", "")),
        ("[DEBUG]\tplugin:\ta: b", pretty(Level::Debug, "plugin", "a: b")),
        ("2026-11-23T09:26:30.123Z [INFO]  plugin: a", pretty(Level::Info, "plugin", "a")),
        ("2026-11-23T09:26:30.123+0100 [TRACE] a.b: c=1", pretty(Level::Trace, "a.b", "c=1")),
        ("2026-11-23T09:26:30.123Z   [WARN]  no module", pretty(Level::Warn, "", "no module")),
        ("2026-11-23T09:26:30.123Z [WARN] a:b", pretty(Level::Warn, "", "a:b")),
        ("2026-11-23T09:26:30.123Z [ERROR] ", pretty(Level::Error, "", "")),
        ("0 [INFO] a", pretty(Level::Info, "", "a")),
    ] {
        assert_eq!(parse(line), expected, "{line}");
    }
}

#[test]
fn what_is_nearly_pretty_is_plain() {
    for line in [
        "2026-11-23T09:26:30.123Z [INFO]a",
        "2026-11-23T09:26:30.123Z[INFO] a",
        "2026-11-23T09:26:30.123Z [INFO]",
        "2026-11-23T09:26:30.123Z INFO a",
        "2026-11-23T09:26:30.123Z [FATAL] a",
        "2026-11-23T09:26:30.123Z [info] a",
        "2026-11-23 09:26:30 [INFO] a: b",
        "x2026-11-23T09:26:30.123Z [INFO] a: b",
        " 2026-11-23T09:26:30.123Z [INFO] a: b",
        "2026-11-23T09:26:30.123Z",
        "2026-11-23T09:26:30.123Z ",
        "2026-11-23T09:26:30.123Z [ERROR]",
    ] {
        assert_eq!(parse(line), plain(line));
    }
}

#[test]
fn go_panics_make_all_that_is_plain_an_error_for_ever() {
    for panic in ["panic: oh no", "fatal error: all goroutines are asleep", "panic: "] {
        let lines = [
            "before",
            panic,
            "",
            "goroutine 1 [running]:",
            "[INFO] prefixed",
            "2026-11-23T09:26:30.123Z [DEBUG] pretty: line",
            r#"{"@level":"debug","@message":"m"}"#,
            r#"{"@level":"nothing"}"#,
            r#"{"@level":1}"#,
            "null",
            "[1]",
            "after",
        ];
        let expected =
            [Info, Error, Error, Error, Info, Debug, Debug, Info, Error, Info, Error, Error];
        assert_eq!(levels(&lines), expected);
    }
    for line in ["panic:", "panic:x", " panic: x", "Panic: x", "fatal error:x", "a panic: x"] {
        assert_eq!(levels(&[line, "after"]), [Level::Info, Level::Info], "{line}");
    }
}

#[test]
fn a_traceback_is_an_error_to_its_last_line() {
    let lines = [
        "before",
        TRACEBACK,
        "  File \"a.py\", line 1, in <module>",
        "\tf()",
        "    ~^^",
        "ValueError: no",
        "after",
    ];
    assert_eq!(levels(&lines), [Info, Error, Error, Error, Error, Error, Info]);
}

#[test]
fn a_line_with_a_level_of_its_own_ends_no_traceback() {
    let lines = [
        TRACEBACK,
        "  File \"a.py\", line 1",
        r#"{"@level":"debug","@message":"m"}"#,
        "[INFO] prefixed",
        "[WARN] pretty: line",
        r#"{"@level":"unknown"}"#,
        "  more",
        "ValueError: no",
        "after",
    ];
    let expected = [Error, Error, Debug, Info, Warn, Info, Error, Error, Info];
    assert_eq!(levels(&lines), expected);
}

#[test]
fn chained_tracebacks_are_errors_with_what_joins_them() {
    for chain in [WHILE_HANDLING, CAUSE] {
        let lines =
            [TRACEBACK, "  a", "KeyError: 1", chain, "between", TRACEBACK, "ValueError", "after"];
        assert_eq!(levels(&lines), [Error, Error, Error, Error, Info, Error, Error, Info]);
        // Wherever it stands, but alone.
        assert_eq!(levels(&[chain, "after"]), [Error, Info]);
        let longer = format!("{chain} ");
        assert_eq!(levels(&[&longer]), [Info]);
        let indented = format!(" {chain}");
        assert_eq!(levels(&[&indented]), [Info]);
    }
}

#[test]
fn a_traceback_in_a_traceback_begins_anew() {
    let lines = [TRACEBACK, TRACEBACK, "  a", "ValueError", "after"];
    assert_eq!(levels(&lines), [Error, Error, Error, Error, Info]);
    assert_eq!(levels(&[" Traceback (most recent call last):", "a"]), [Info, Info]);
    assert_eq!(levels(&["Traceback (most recent call first):", "a"]), [Info, Info]);
}

#[test]
fn an_exception_group_is_an_error_as_far_as_it_is_indented() {
    let lines = [
        GROUP,
        "  |   File \"a.py\", line 1",
        "  | ExceptionGroup: two (2 sub-exceptions)",
        "  +-+---------------- 1 ----------------",
        "    | Traceback (most recent call last):",
        "    | ValueError: 1",
        "    +------------------------------------",
        "after",
        "  indented",
    ];
    let mut expected = [Level::Error; 9];
    expected[7..].fill(Level::Info);
    assert_eq!(levels(&lines), expected);
    // It may stand in a traceback, which it ends.
    assert_eq!(
        levels(&[TRACEBACK, GROUP, "  |", "x"]),
        [Level::Error, Level::Error, Level::Error, Level::Info]
    );
}

#[test]
fn an_entry_of_the_common_form_is_dropped_unread() {
    let parser = Parser::new();
    for level in &Level::ALL[..5] {
        let name = level.name();
        for line in [
            format!(r#"{{"@level":"{name}","@message":"m","@module":"a","@timestamp":"{TIME}"}}"#),
            format!(r#"{{"@level":"{name}","@message":"a\nb\"c\"\\","level":"error","n":[1]}}"#),
        ] {
            for least in Level::ALL {
                let is_wanted = least > Level::Info && *level < least;
                assert_eq!(parser.is_below(line.as_bytes(), least), is_wanted, "{name} {least:?}");
            }
        }
    }
}

#[test]
fn what_may_say_more_is_read() {
    let parser = Parser::new();
    for line in [
        "",
        "{",
        "text",
        "[DEBUG] a",
        r#"{"@level":"DEBUG"}"#,
        r#"{"@level": "debug"}"#,
        r#"{ "@level":"debug"}"#,
        r#"{"@level":"debug","@level":"error"}"#,
        r#"{"@level":"debug","a":{"@level":1}}"#,
        r#"{"@level":"debug","\u0040level":"error"}"#,
        r#"{"@level":"off"}"#,
        r#"{"@level":"#,
        r#"{"@level":""#,
    ] {
        assert!(!parser.is_below(line.as_bytes(), Level::Error), "{line}");
    }
}

#[test]
fn nothing_is_dropped_unread_while_text_is_an_error() {
    let line = br#"{"@level":"debug","@message":"m"}"#;
    for (before, is_below) in [
        ("text", true),
        ("panic: no", false),
        ("fatal error: no", false),
        (TRACEBACK, false),
        (GROUP, false),
        (CAUSE, true),
    ] {
        let mut parser = Parser::new();
        parser.parse(before.as_bytes());
        assert_eq!(parser.is_below(line, Level::Warn), is_below, "{before}");
    }
}

// The record of a line that is the first of its stream and no pretty one, by serde_json.
fn entry_by_reference(line: &[u8]) -> Option<(Level, String, String, Option<String>, bool)> {
    let mut members = match reference(line) {
        Some(Value::Object(members)) => members,
        Some(Value::Null) => Map::new(),
        _ => return None,
    };
    let mut special = |name| match members.remove(name) {
        None => Some(None),
        Some(Value::String(text)) => Some(Some(text)),
        Some(_) => None,
    };
    let (level, message, time) = (special("@level")?, special("@message")?, special("@timestamp")?);
    if time.as_ref().is_some_and(|time| !timestamp::is_valid(time.as_bytes())) {
        return None;
    }
    let name = level?.trim().to_ascii_lowercase();
    let level = Level::ALL[..5].iter().find(|level| level.name() == name)?;
    let module = match members.remove("@module") {
        Some(Value::String(text)) => text,
        other => {
            members.extend(other.map(|value| ("@module".into(), value)));
            String::new()
        }
    };
    Some((*level, message.unwrap_or_default(), module, time, !members.is_empty()))
}

// Lines among which the state of the stream changes.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let states = [
        "text",
        "panic: no",
        TRACEBACK,
        GROUP,
        CAUSE,
        WHILE_HANDLING,
        "  indented",
        "[DEBUG] a",
        "[ERROR] a: b",
        "2026-11-23T09:26:30.123Z [INFO]  plugin: a",
        "null",
        "x",
        r#"{"@level":1}"#,
        r#"{"@level":"debug","@message":"m"}"#,
        r#"{"@level":"info"#,
        r#"{"@level":"trace"}x"#,
    ];
    prop_oneof![
        4 => entry(),
        2 => mutated(entry()),
        4 => select(states.map(|state| state.as_bytes().to_vec()).to_vec()),
        1 => vec(any::<u8>(), 0..30),
    ]
}

fn lines_of(stream: &[u8], least: Level) -> Vec<(Vec<u8>, Level, String)> {
    let mut found = Vec::new();
    let mut log = LogStream::new(1 << 16);
    let mut each = |line: &[u8], record: Record<'_>| {
        found.push((line.to_vec(), record.level, record.message.decode().into_owned()));
    };
    log.push(stream, least, None, &mut each);
    log.finish(least, None, &mut each);
    found
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn an_entry_says_what_serde_json_reads(line in prop_oneof![2 => entry(), 1 => mutated(entry())]) {
        let record = Parser::new().parse(&line);
        let expected = entry_by_reference(&line);
        prop_assert_eq!(record.is_entry, expected.is_some());
        if let Some((level, message, module, time, has_fields)) = expected {
            prop_assert_eq!(record.level, level);
            prop_assert_eq!(record.message.decode(), message);
            prop_assert_eq!(record.module.decode(), module);
            prop_assert_eq!(record.timestamp.map(|text| text.decode().into_owned()), time);
            // It may have none after all, of two of a name.
            prop_assert!(record.has_fields || !has_fields);
        } else if !line.starts_with(b"[") {
            prop_assert_eq!(record, Record::text(&line, record.level));
        }
    }

    #[test]
    fn what_is_dropped_unread_is_below(lines in vec(line(), 1..8)) {
        let mut parser = Parser::new();
        for line in &lines {
            let dropped = Level::ALL.map(|least| parser.is_below(line, least));
            let record = parser.parse(line);
            for (least, is_dropped) in Level::ALL.into_iter().zip(dropped) {
                prop_assert!(!is_dropped || record.level < least, "{:?} at {:?}", record, least);
            }
        }
    }

    #[test]
    fn a_threshold_drops_what_is_below_and_nothing_else(lines in vec(line(), 0..12)) {
        let stream = lines.join(&b'\n');
        let all = lines_of(&stream, Level::Trace);
        for least in Level::ALL {
            let wanted: Vec<_> = all.iter().filter(|(_, level, _)| *level >= least).cloned().collect();
            prop_assert_eq!(lines_of(&stream, least), wanted);
        }
    }

    #[test]
    fn any_bytes_are_a_record(line in vec(any::<u8>(), 0..200)) {
        let record = Parser::new().parse(&line);
        prop_assert!(record.level < Level::Off);
        prop_assert!(record.message.decode().len() <= line.len() * 3);
    }
}
