//! Lines written anew, and the descriptors that they are written to.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use pyplugin_rust::forward::{Encoder, Format, Target};
use pyplugin_rust::hclog::{Member, Parser, Text, timestamp};
use serde_json::{Map, Value};

use crate::pipes::{file, forward_pipe, is_readable, read_some, within_limit};
use crate::texts::{cases, entry, members, mutated, reference, with_floats};

const NOW_TEXT: &str = "2026-11-23T09:26:30.000001Z";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(1_795_425_990_000_001)
}

// What the encoder makes of a line, without the LF.
fn encoded(format: Format, plugin: &str, line: &[u8]) -> Vec<u8> {
    // After what is there already.
    let mut out = b"before\n".to_vec();
    Encoder::new(format, plugin).write(&mut out, line, &Parser::new().parse(line), now());
    let line = out.strip_prefix(b"before\n").and_then(|rest| rest.strip_suffix(b"\n")).unwrap();
    assert!(!line.contains(&b'\n') || format == Format::Verbatim);
    line.to_vec()
}

fn text(format: Format, line: &str) -> String {
    String::from_utf8(encoded(format, "kv", line.as_bytes())).unwrap()
}

#[test]
fn an_entry_gets_one_more_member() {
    let hclog = |line| text(Format::Hclog, line);
    for (line, forwarded) in [
        (r#"{"@level":"info"}"#, r#"{"@level":"info","plugin":"kv"}"#),
        (r#" {"@level":"info" } "#, r#"{"@level":"info" ,"plugin":"kv"}"#),
        // All that it says stays as it is spelt.
        (
            r#"{"@level":"info","@message":"a\u0041\/","n":1.50,"big":12345678901234567890123}"#,
            r#"{"@level":"info","@message":"a\u0041\/","n":1.50,"big":12345678901234567890123,"plugin":"kv"}"#,
        ),
        (
            r#"{"@level":"info","a":{"plugin":1},"b":"plugin"}"#,
            r#"{"@level":"info","a":{"plugin":1},"b":"plugin","plugin":"kv"}"#,
        ),
        (
            "{\"@level\":\"info\",\"@message\":\"gr\u{fc}n\"}",
            "{\"@level\":\"info\",\"@message\":\"gr\u{fc}n\",\"plugin\":\"kv\"}",
        ),
    ] {
        assert_eq!(hclog(line), forwarded);
    }
}

#[test]
fn a_member_plugin_is_replaced() {
    for line in [
        r#"{"plugin":"x","@level":"info","a":[1,{"b":"\n"}]}"#,
        r#"{"@level":"info","plu\u0067in":{"a":[{}]},"a":[1,{"b":"\n"}]}"#,
        r#"{"@level":"info","plugin":1,"a":[1,{"b":"\n"}],"plugin":2}"#,
        r#"{ "@level" : "info" , "plugin" : null , "a" : [ 1 , { "b" : "\u000a" } ] }"#,
    ] {
        assert_eq!(
            text(Format::Hclog, line),
            r#"{"@level":"info","a":[1,{"b":"\n"}],"plugin":"kv"}"#
        );
    }
    assert_eq!(
        text(Format::Hclog, r#"{"plugin":"x","@level":"info"}"#),
        r#"{"@level":"info","plugin":"kv"}"#
    );
}

#[test]
fn what_is_no_utf8_is_replaced() {
    let line = b"{\"@level\":\"info\",\"@message\":\"a\xff\xfeb\",\"k\xff\":[\"\xff\"]}";
    let expected = "{\"@level\":\"info\",\"@message\":\"a\u{fffd}\u{fffd}b\",\
                    \"k\u{fffd}\":[\"\u{fffd}\"],\"plugin\":\"kv\"}";
    assert_eq!(encoded(Format::Hclog, "kv", line), expected.as_bytes());
    let expected = format!(
        "{{\"@level\":\"info\",\"@message\":\"a\u{fffd}b\",\"@timestamp\":\"{NOW_TEXT}\",\
         \"plugin\":\"kv\"}}"
    );
    assert_eq!(encoded(Format::Hclog, "kv", b"a\xffb"), expected.as_bytes());
}

#[test]
fn a_text_becomes_an_entry() {
    for (line, forwarded) in [
        ("a \"b\"\t\\\u{1}", r#""@level":"info","@message":"a \"b\"\t\\\u0001","#),
        ("[ERROR] broken", r#""@level":"error","@message":"[ERROR] broken","#),
        ("[WARN] a.b: c", r#""@level":"warn","@message":"c","@module":"a.b","#),
        (
            "2026-01-02T03:04:05.000Z [TRACE] a: ",
            r#""@level":"trace","@message":"","@module":"a","#,
        ),
        ("panic: no", r#""@level":"error","@message":"panic: no","#),
        (r#"{"@level":1}"#, r#""@level":"info","@message":"{\"@level\":1}","#),
        ("null", r#""@level":"info","@message":"null","#),
    ] {
        let expected = format!("{{{forwarded}\"@timestamp\":\"{NOW_TEXT}\",\"plugin\":\"kv\"}}");
        assert_eq!(text(Format::Hclog, line), expected);
    }
}

#[test]
fn logfmt_has_pairs() {
    let time = "2026-01-02T03:04:05.000006Z";
    for (line, forwarded) in [
        (
            format!(
                r#"{{"@level":"warn","@message":"a b","@module":"m.n","@timestamp":"{time}","s":"x","n":-1.50,"t":true,"z":null,"e":"","l":[1,"a"],"o":{{"k":[]}}}}"#
            ),
            format!(
                r#"time={time} level=warn module=m.n plugin=kv msg="a b" s=x n=-1.50 t=true z=null e="" l="[1,\"a\"]" o="{{\"k\":[]}}""#
            ),
        ),
        (
            r#"{"@level":"info","@message":"m","@module":[1],"a b=\"c\"\n":"d=e","":"\\","plugin":"x","\u00fc":"\u00fc"}"#.into(),
            format!(
                "time={NOW_TEXT} level=info plugin=kv msg=m @module=[1] a_b__c__=\"d=e\" _=\"\\\\\" \
                 \u{fc}=\u{fc}"
            ),
        ),
        ("[ERROR] no".into(), format!("time={NOW_TEXT} level=error plugin=kv msg=\"[ERROR] no\"")),
        ("[INFO] a: b".into(), format!("time={NOW_TEXT} level=info module=a plugin=kv msg=b")),
        ("a\u{7f}b".into(), format!("time={NOW_TEXT} level=info plugin=kv msg=\"a\u{7f}b\"")),
        (
            r#"{"@level":"info"}"#.into(),
            format!("time={NOW_TEXT} level=info plugin=kv msg=\"\""),
        ),
    ] {
        assert_eq!(text(Format::Logfmt, &line), forwarded);
    }
}

#[test]
fn verbatim_is_as_it_came() {
    for line in [&b"text"[..], b"{\"@level\":\"info\"}", b" \xff\r", b""] {
        assert_eq!(encoded(Format::Verbatim, "kv", line), line);
    }
}

#[test]
fn the_plugin_may_have_any_name() {
    let name = "a \"b\"=\\\n\u{1}\u{fc}";
    for line in [&br#"{"@level":"info","plugin":"x"}"#[..], br#"{"@level":"info"}"#, b"text"] {
        let value: Value = serde_json::from_slice(&encoded(Format::Hclog, name, line)).unwrap();
        assert_eq!(value["plugin"], name);
    }
    let pairs = pairs_of(&encoded(Format::Logfmt, name, b"text"));
    assert_eq!(pairs[2], ("plugin".into(), name.into()));
}

#[test]
fn a_deep_value_is_written_without_recursion() {
    let open = [br#"{"@level":"info","plugin":1,"a":"#, &b"[".repeat(9_999)[..]].concat();
    let line = [&open[..], &b"]".repeat(9_999), b"}"].concat();
    let work = move || {
        let forwarded = encoded(Format::Hclog, "kv", &line);
        let value = [b"[".repeat(9_999), b"]".repeat(9_999)].concat();
        let expected = [br#"{"@level":"info","a":"#, &value[..], br#","plugin":"kv"}"#].concat();
        assert!(forwarded == expected);
        assert!(encoded(Format::Logfmt, "kv", &line).ends_with(&[b" a=", &value[..]].concat()));
    };
    // A frame for each level would not fit in this.
    std::thread::Builder::new().stack_size(128 * 1024).spawn(work).unwrap().join().unwrap();
}

// The pairs of a line of logfmt.
fn pairs_of(line: &[u8]) -> Vec<(String, String)> {
    let mut rest = str::from_utf8(line).unwrap();
    let mut pairs = Vec::new();
    loop {
        let (key, value) = rest.split_once('=').unwrap();
        assert!(!key.is_empty() && !key.contains(|sign: char| sign <= ' ' || sign == '"'));
        let mut quoted = serde_json::Deserializer::from_str(value).into_iter::<String>();
        let (text, length) = if value.starts_with('"') {
            (quoted.next().unwrap().unwrap(), quoted.byte_offset())
        } else {
            let length = value.find(' ').unwrap_or(value.len());
            assert!(length > 0);
            (value[..length].to_owned(), length)
        };
        pairs.push((key.to_owned(), text));
        if length == value.len() {
            return pairs;
        }
        rest = value[length..].strip_prefix(' ').unwrap();
    }
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => entry(),
        1 => mutated(entry()),
        1 => "(\\[(INFO|ERROR)\\] )?([a-z.]{1,5}: )?.{0,30}".prop_map(Vec::from),
        1 => vec(any::<u8>(), 0..40),
    ];
    line.prop_map(|mut line| {
        line.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        line
    })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn hclog_says_what_the_line_says(line in line(), plugin in "[ -~]{0,8}") {
        let record = Parser::new().parse(&line);
        let expected = if record.is_entry {
            let Some(Value::Object(mut members)) = reference(&line) else { panic!("no entry") };
            members.insert("plugin".into(), plugin.clone().into());
            members
        } else {
            let mut members = Map::new();
            members.insert("@level".into(), record.level.name().into());
            members.insert("@message".into(), record.message.decode().into());
            if !record.module.raw().is_empty() {
                members.insert("@module".into(), record.module.decode().into());
            }
            members.insert("@timestamp".into(), NOW_TEXT.into());
            members.insert("plugin".into(), plugin.clone().into());
            members
        };
        let forwarded = encoded(Format::Hclog, &plugin, &line);
        prop_assert!(str::from_utf8(&forwarded).is_ok());
        prop_assert_eq!(reference(&forwarded), Some(Value::Object(expected)));
        // Whoever reads it by our own rules finds the same.
        let again = Parser::new().parse(&forwarded);
        prop_assert!(again.is_entry);
        prop_assert_eq!(again.level, record.level);
        prop_assert_eq!(again.message.decode(), record.message.decode());
        prop_assert_eq!(again.module.decode(), record.module.decode());
    }

    #[test]
    fn logfmt_says_what_the_line_says(line in line(), plugin in "[ -~]{0,8}") {
        let record = Parser::new().parse(&line);
        let time = record.timestamp.map_or(NOW_TEXT.into(), |time| time.decode());
        prop_assert!(timestamp::is_valid(time.as_bytes()));
        let mut pairs = pairs_of(&encoded(Format::Logfmt, &plugin, &line)).into_iter();
        let mut next = || pairs.next().unwrap();
        prop_assert_eq!(next(), ("time".into(), time.into_owned()));
        prop_assert_eq!(next(), ("level".into(), record.level.name().into()));
        if !record.module.raw().is_empty() {
            prop_assert_eq!(next(), ("module".into(), record.module.decode().into()));
        }
        prop_assert_eq!(next(), ("plugin".into(), plugin));
        prop_assert_eq!(next(), ("msg".into(), record.message.decode().into()));
        let fields = if record.is_entry { members(&line) } else { Vec::new() };
        for (name, value) in fields {
            match Member::of(Text::plain(name.as_bytes())) {
                // Its place is the host's.
                Member::Field if name == "plugin" => continue,
                Member::Field => {}
                Member::Module if !value.is_string() => {}
                _ => continue,
            }
            let (key, text) = next();
            let name: String = if name.is_empty() { "_".into() } else { name };
            prop_assert_eq!(
                key,
                name.replace(|sign: char| sign <= ' ' || "\"=\x7f".contains(sign), "_")
            );
            match value {
                Value::String(value) => prop_assert_eq!(text, value),
                value => {
                    let text = serde_json::from_str(&text).ok().map(with_floats);
                    prop_assert_eq!(text, Some(value));
                }
            }
        }
        prop_assert_eq!(pairs.next(), None);
    }

    #[test]
    fn verbatim_says_what_the_line_says(line in line()) {
        prop_assert_eq!(encoded(Format::Verbatim, "kv", &line), line);
    }
}

// Recognizable anywhere: no piece of it is like another.
fn pattern(length: usize) -> Vec<u8> {
    (0_u64..).flat_map(|number| format!("{number:x},").into_bytes()).take(length).collect()
}

fn scratch(name: &str) -> File {
    let name = format!("{name}-{}", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
    fs::remove_file(path).unwrap();
    file.unwrap()
}

#[test]
fn a_file_takes_all_at_once() {
    let mut file = scratch("target");
    let mut target = Target::new(file.try_clone().unwrap());
    let text = pattern(300_000);
    for piece in text.chunks(70_000) {
        target.send(&mut piece.to_vec()).unwrap();
        assert!(target.is_idle());
    }
    target.flush().unwrap();
    file.rewind().unwrap();
    let mut found = Vec::new();
    file.read_to_end(&mut found).unwrap();
    assert!(found == text);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_device_is_told_each_time_and_kept_from_growing() {
    let mut target = Target::new(OpenOptions::new().write(true).open("/dev/full").unwrap());
    for _ in 0..3 {
        let error = target.send(&mut pattern(100_000)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(target.is_idle());
    }
    target.flush().unwrap();
}

// Sends 1 MiB to a target that nobody reads yet, then reads it all.
fn fill_and_read(mut target: Target, mut reader: impl Read + std::os::fd::AsFd) {
    let text = pattern(1 << 20);
    let (first, second) = text.split_at(600_001);
    // Neither waits for the reader.
    target.send(&mut first.to_vec()).unwrap();
    assert!(!target.is_idle());
    target.send(&mut second.to_vec()).unwrap();
    target.flush().unwrap();
    assert!(!target.is_idle());
    let mut found = Vec::new();
    while found.len() < text.len() {
        found.extend(read_some(&mut reader, 10_007));
        target.flush().unwrap();
    }
    assert!(found == text);
    assert!(target.is_idle());
    assert!(!is_readable(&reader, Duration::ZERO));
    // It goes on as if nothing had been.
    target.send(&mut b"more".to_vec()).unwrap();
    assert!(target.is_idle());
    assert_eq!(read_some(&mut reader, 100), b"more");
}

#[test]
fn a_pipe_is_never_waited_for() {
    for blocks in [false, true] {
        within_limit(move || {
            let (reader, file) = forward_pipe(blocks);
            fill_and_read(Target::new(file), reader);
        });
    }
}

#[test]
fn a_socket_is_never_waited_for() {
    for is_nonblocking in [false, true] {
        within_limit(move || {
            let (reader, writer) = UnixStream::pair().unwrap();
            writer.set_nonblocking(is_nonblocking).unwrap();
            fill_and_read(Target::new(file(writer)), reader);
        });
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_pipe_that_is_nearly_full_takes_what_fits() {
    for blocks in [false, true] {
        within_limit(move || {
            let (reader, file) = forward_pipe(blocks);
            let mut other = file.try_clone().unwrap();
            let mut target = Target::new(file);
            // All but a few bytes, as if somebody else had written them.
            let filler = 65_536 - 3 * 4096;
            other.write_all(&vec![b'-'; filler]).unwrap();
            let text = pattern(100_000);
            target.send(&mut text.clone()).unwrap();
            let mut found = Vec::new();
            while found.len() < filler + text.len() {
                found.extend(read_some(&reader, 65_536));
                target.flush().unwrap();
            }
            assert!(found[filler..] == text);
            assert!(target.is_idle());
        });
    }
}

#[test]
fn a_reader_that_is_gone_is_told() {
    for blocks in [false, true] {
        within_limit(move || {
            let (reader, file) = forward_pipe(blocks);
            let mut target = Target::new(file);
            drop(reader);
            let error = target.send(&mut b"x".to_vec()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            assert!(target.is_idle());
            target.flush().unwrap();
        });
    }
}

#[test]
fn a_reader_that_goes_while_much_is_kept_is_told() {
    for blocks in [false, true] {
        within_limit(move || {
            let (reader, file) = forward_pipe(blocks);
            let mut target = Target::new(file);
            target.send(&mut pattern(200_000)).unwrap();
            assert!(!target.is_idle());
            drop(reader);
            assert_eq!(target.flush().unwrap_err().kind(), ErrorKind::BrokenPipe);
            assert!(target.is_idle());
        });
    }
}

#[test]
fn the_descriptor_is_that_which_was_given() {
    let (mut reader, writer) = forward_pipe(true);
    let target = Target::new(writer);
    target.file().write_all(b"x").unwrap();
    drop(target);
    let mut found = String::new();
    reader.read_to_string(&mut found).unwrap();
    assert_eq!(found, "x");
}

proptest! {
    // One that hangs is not made smaller for ever.
    #![proptest_config(ProptestConfig { max_shrink_iters: 4, ..cases(48) })]

    #[test]
    fn nothing_is_lost_or_out_of_order(
        blocks in any::<bool>(),
        steps in vec((0_usize..90_000, select(&[0_usize, 1, 5_000, 40_000, 200_000][..])), 1..12),
    ) {
        within_limit(move || {
            let (reader, file) = forward_pipe(blocks);
            let mut target = Target::new(file);
            let text = pattern(steps.iter().map(|(size, _)| size).sum());
            let mut rest = &text[..];
            let mut found = Vec::new();
            for (size, most) in steps {
                let (piece, more) = rest.split_at(size);
                rest = more;
                target.send(&mut piece.to_vec()).unwrap();
                if most > 0 && is_readable(&reader, Duration::ZERO) {
                    found.extend(read_some(&reader, most));
                }
            }
            while found.len() < text.len() {
                target.flush().unwrap();
                found.extend(read_some(&reader, 1 << 20));
            }
            target.flush().unwrap();
            assert!(target.is_idle());
            assert!(found == text);
        });
    }
}
