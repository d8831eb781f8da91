//! Streams, and batches of what they say.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use pyplugin_rust::hclog::batch::{Batch, LogStream};
use pyplugin_rust::hclog::{Level, Parser, Record, Text};
use pyplugin_rust::lines::LEAST_LIMIT;

use crate::texts::{cases, entry};

const ENTRY: &[u8] =
    br#"{"@level":"info","@message":"a\tb","@module":"m","@timestamp":"2026-11-23T09:26:30.123456Z","n":1}"#;

#[derive(Debug, Default, PartialEq)]
struct Said {
    // Of each record its line, its level and its message.
    records: Vec<(Vec<u8>, Level, String)>,
    copy: Vec<u8>,
    tail: Vec<Vec<u8>>,
}

fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, limit: usize, least: Level) -> Said {
    let mut stream = LogStream::new(limit);
    let mut said = Said::default();
    let mut each = |line: &[u8], record: Record<'_>| {
        let message = record.message.decode().into_owned();
        said.records.push((line.to_vec(), record.level, message));
    };
    for chunk in chunks {
        stream.push(chunk, least, Some(&mut said.copy), &mut each);
    }
    stream.finish(least, Some(&mut said.copy), &mut each);
    said.tail = stream.tail().map(<[u8]>::to_vec).collect();
    said
}

fn said(stream: &[u8]) -> Said {
    read([stream], 1 << 16, Level::Trace)
}

fn texts(said: &Said) -> Vec<&[u8]> {
    said.records.iter().map(|(line, ..)| line.as_slice()).collect()
}

#[test]
fn lines_become_records_without_their_ends() {
    let stream = [b"one\r\n\n", ENTRY, b"\ntwo\r\r\n[WARN] three"].concat();
    let records = [
        (b"one".to_vec(), Level::Info, "one".to_owned()),
        (ENTRY.to_vec(), Level::Info, "a\tb".to_owned()),
        (b"two\r".to_vec(), Level::Info, "two\r".to_owned()),
        (b"[WARN] three".to_vec(), Level::Warn, "[WARN] three".to_owned()),
    ];
    assert_eq!(said(&stream).records, records);
}

#[test]
fn a_copy_has_every_line_at_every_level() {
    let stream = [b"one\r\n\n\r\n", ENTRY, b"\r\r\nx"].concat();
    let copy = [b"one\n\n\n", ENTRY, b"\r\nx\n"].concat();
    for least in Level::ALL {
        assert_eq!(read([&stream[..]], 1 << 16, least).copy, copy);
    }
    assert_eq!(said(b"").copy, b"");
    assert_eq!(said(b"\n").copy, b"\n");
    assert_eq!(said(b"x\r").copy, b"x\r\n");
}

#[test]
fn a_copy_of_a_line_in_pieces_is_in_one() {
    let copy = |stream: &[u8]| read([stream], 16, Level::Off).copy;
    let long = [b'x'; 40];
    assert_eq!(copy(&[&long[..], b"\r\ny"].concat()), [&long[..], b"\ny\n"].concat());
    // The stream ended just after a full piece: nothing says that the line did.
    assert_eq!(copy(&long[..32]), &long[..32]);
    assert_eq!(copy(&[&long[..32], b"\n"].concat()), [&long[..32], b"\n"].concat());
}

#[test]
fn a_piece_of_a_line_is_text_whatever_it_looks_like() {
    let long = format!("[ERROR] {}\n[ERROR] short\n", "x".repeat(40));
    let records = read([long.as_bytes()], 32, Level::Trace).records;
    let levels: Vec<Level> = records.iter().map(|(_, level, _)| *level).collect();
    assert_eq!(levels, [Level::Info, Level::Info, Level::Error]);
    assert_eq!(read([long.as_bytes()], 32, Level::Warn).records.len(), 1);
    // Nor does it end what makes text an error.
    let stream = format!("panic: no\n{}\nafter\n", "x".repeat(40));
    let records = read([stream.as_bytes()], 32, Level::Trace).records;
    let levels: Vec<Level> = records.iter().map(|(_, level, _)| *level).collect();
    assert_eq!(levels, [Level::Error, Level::Info, Level::Info, Level::Error]);
}

#[test]
fn a_stream_that_is_not_parsed_is_text() {
    const LIMIT: usize = 100;
    const LONG: [u8; 170] = [b'x'; 170];
    let stream = [ENTRY, b"\r\n\n[ERROR] a: b\npanic: no\nafter\n", &LONG, b"\nend"].concat();
    let expected =
        [ENTRY, b"[ERROR] a: b", b"panic: no", b"after", &LONG[..LIMIT], &LONG[LIMIT..], b"end"];
    for least in Level::ALL {
        let mut log = LogStream::unparsed(LIMIT);
        let (mut found, mut copy) = (Vec::new(), Vec::new());
        let mut each = |line: &[u8], record: Record<'_>| {
            assert_eq!(record, Record::text(line, Level::Info));
            found.push(line.to_vec());
        };
        log.push(&stream, least, Some(&mut copy), &mut each);
        log.finish(least, Some(&mut copy), &mut each);
        let wanted = if least <= Level::Info { &expected[..] } else { &[] };
        assert_eq!(found, wanted);
        assert_eq!(copy, read([&stream[..]], LIMIT, Level::Off).copy);
        assert_eq!(log.tail().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn what_is_dropped_changes_what_follows() {
    let stream = b"panic: no\nafter\n";
    assert_eq!(texts(&read([&stream[..]], 64, Level::Error)), [&b"panic: no"[..], b"after"]);
    let mut log = LogStream::new(64);
    let mut lines = Vec::new();
    log.push(b"panic: no\n", Level::Off, None, &mut |_, _| unreachable!("no line is so high"));
    log.push(b"after\n", Level::Error, None, &mut |line, _| lines.push(line.to_vec()));
    assert_eq!(lines, [b"after"]);
}

#[test]
fn the_tail_is_the_last_forty_lines() {
    let line = |number: usize| format!("line {number}");
    let mut stream = LogStream::new(64);
    for number in 0..100 {
        let text = format!("{}\n\n\r\n", line(number));
        // Those that nobody wants, too.
        stream.push(text.as_bytes(), Level::Off, None, &mut |_, _| ());
        let first = (number + 1_usize).saturating_sub(40);
        let expected: Vec<String> = (first..=number).map(line).collect();
        let tail: Vec<&[u8]> = stream.tail().collect();
        assert_eq!(tail, expected.iter().map(String::as_bytes).collect::<Vec<_>>());
    }
    stream.push(b"no end", Level::Off, None, &mut |_, _| ());
    assert_eq!(stream.tail().last(), Some(&b"line 99"[..]));
    stream.finish(Level::Off, None, &mut |_, _| ());
    assert_eq!(stream.tail().last(), Some(&b"no end"[..]));
    assert_eq!(stream.tail().count(), 40);
}

#[test]
fn long_lines_are_cut_in_the_tail() {
    for (length, kept) in [(2047, 2047), (2048, 2048), (2049, 2048), (60_000, 2048)] {
        let line = vec![b'x'; length];
        let said = said(&line);
        assert_eq!(said.tail, [vec![b'x'; kept]]);
        assert_eq!(texts(&said), [line]);
    }
    // A short one after a long one has nothing of it.
    let mut stream = LogStream::new(1 << 16);
    for _ in 0..41 {
        stream.push(&[&[b'x'; 3000][..], b"\n"].concat(), Level::Off, None, &mut |_, _| ());
    }
    stream.push(b"y\n", Level::Off, None, &mut |_, _| ());
    assert_eq!(stream.tail().last(), Some(&b"y"[..]));
}

#[test]
fn the_tail_has_the_pieces_of_a_line() {
    let said = read([&[b'x'; 40][..]], 16, Level::Off);
    assert_eq!(said.tail, [vec![b'x'; 16], vec![b'x'; 16], vec![b'x'; 8]]);
}

#[test]
fn a_batch_gives_back_what_it_was_given() {
    let lines = [
        ENTRY,
        b"text",
        br#"{"@level":"info"}"#,
        br#"{"@level":"info","@message":"","@module":""}"#,
        br#" {"@module":"\u0061","@message":"\"","@level":"\u0069nfo"} "#,
        b"2026-11-23T09:26:30.123Z [ERROR] a.b: ",
        b"2026-11-23T09:26:30.123Z [ERROR]",
        b"[ERROR] a: b",
        b"\xff",
    ];
    let mut batch = Batch::default();
    assert!(batch.is_empty());
    for line in lines {
        batch.push(line, Parser::new().parse(line));
    }
    assert_eq!(batch.len(), lines.len());
    assert!(!batch.is_empty());
    for (index, line) in lines.into_iter().enumerate() {
        assert_eq!(batch.get(index), Some((line, Parser::new().parse(line))));
    }
    assert_eq!(batch.get(lines.len()), None);
    assert_eq!(batch.get(usize::MAX), None);
}

#[test]
fn an_empty_line_is_a_record_like_others() {
    let mut batch = Batch::default();
    batch.push(b"", Record::text(b"", Level::Warn));
    batch.push(b"x", Record::text(b"x", Level::Warn));
    batch.push(b"", Record::text(b"", Level::Error));
    assert_eq!(batch.get(0), Some((&b""[..], Record::text(b"", Level::Warn))));
    assert_eq!(batch.get(1), Some((&b"x"[..], Record::text(b"x", Level::Warn))));
    assert_eq!(batch.get(2), Some((&b""[..], Record::text(b"", Level::Error))));
}

#[test]
fn the_size_grows_with_all_that_it_holds() {
    let mut batch = Batch::default();
    let mut last = batch.size();
    for length in [0, 1, 100, 5000] {
        let line = vec![b'x'; length];
        batch.push(&line, Record::text(&line, Level::Info));
        assert!(batch.size() > last + length, "{length} bytes");
        last = batch.size();
    }
    batch.copy.extend_from_slice(&[b'x'; 300]);
    assert!(batch.size() >= last + 300);
}

// The lines of a stream as Go's reader cuts them, from one LF to the next: the text, whether it is a
// whole line, and whether its line ends with it.
fn cut(stream: &[u8], limit: usize) -> Vec<(Vec<u8>, bool, bool)> {
    let mut cut = Vec::new();
    for line in stream.split_inclusive(|byte| *byte == b'\n') {
        let is_ended = line.ends_with(b"\n");
        let mut rest = line.strip_suffix(b"\n").unwrap_or(line);
        let is_whole = rest.len() < limit;
        while rest.len() >= limit {
            let length = if rest[limit - 1] == b'\r' { limit - 1 } else { limit };
            cut.push((rest[..length].to_vec(), false, false));
            rest = &rest[length..];
        }
        if is_ended {
            rest = rest.strip_suffix(b"\r").unwrap_or(rest);
        } else if rest.is_empty() {
            continue;
        }
        cut.push((rest.to_vec(), is_whole, true));
    }
    cut
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        3 => entry(),
        3 => "[a-z\\[\\]: ]{0,40}".prop_map(Vec::from),
        1 => (1_usize..70).prop_map(|length| vec![b'x'; length]),
        1 => select(&["panic: no", "[ERROR] a: b", "Traceback (most recent call last):", "\r"][..])
            .prop_map(Vec::from),
        1 => vec(any::<u8>(), 0..20),
    ];
    let end = select(&["\n", "\n", "\r\n", "\r\r\n", "\n\n", "\r", ""][..]);
    vec((line, end), 0..10).prop_map(|lines| {
        lines.into_iter().flat_map(|(line, end)| [&line[..], end.as_bytes()].concat()).collect()
    })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_chunks_say_the_same(
        stream in stream(),
        sizes in vec(1_usize..80, 1..20),
        limit in select(&[1, LEAST_LIMIT, 17, 64, 300, 1 << 16][..]),
        least in select(&Level::ALL[..]),
    ) {
        let mut chunks = Vec::new();
        let mut rest = &stream[..];
        for size in sizes.into_iter().cycle() {
            let (chunk, more) = rest.split_at(size.min(rest.len()));
            chunks.push(chunk);
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        let found = read(chunks, limit, least);
        prop_assert_eq!(&found, &read([&stream[..]], limit, least));

        let lines = cut(&stream, limit.max(LEAST_LIMIT));
        let copy: Vec<u8> = lines
            .iter()
            .flat_map(|(text, _, is_ended)| [text, &b"\n"[..usize::from(*is_ended)]].concat())
            .collect();
        prop_assert_eq!(found.copy, copy);
        let mut parser = Parser::new();
        let mut records = Vec::new();
        for (text, is_whole, _) in lines.iter().filter(|(text, ..)| !text.is_empty()) {
            let record =
                if *is_whole { parser.parse(text) } else { Record::text(text, Level::Info) };
            if record.level >= least {
                records.push((text.clone(), record.level, record.message.decode().into_owned()));
            }
        }
        prop_assert_eq!(found.records, records);
        let mut tail: Vec<_> = lines.into_iter().map(|(text, ..)| text).collect();
        tail.retain(|text| !text.is_empty());
        tail.drain(..tail.len().saturating_sub(40));
        for text in &mut tail {
            text.truncate(2048);
        }
        prop_assert_eq!(found.tail, tail);
    }

    #[test]
    fn a_batch_gives_back_any_record(lines in vec(prop_oneof![entry(), vec(any::<u8>(), 0..40)], 0..8)) {
        let mut batch = Batch::default();
        batch.reserve(lines.len());
        for line in &lines {
            batch.push(line, Parser::new().parse(line));
        }
        for (index, line) in lines.iter().enumerate() {
            prop_assert_eq!(batch.get(index), Some((&line[..], Parser::new().parse(line))));
        }
        prop_assert_eq!(batch.len(), lines.len());
    }

    #[test]
    fn a_batch_gives_back_any_part_of_a_line(
        line in vec(any::<u8>(), 1..60),
        parts in any::<[(Index, Index, bool); 3]>(),
    ) {
        let [message, module, timestamp] = parts.map(|(first, second, is_escaped)| {
            let (first, second) = (first.index(line.len() + 1), second.index(line.len() + 1));
            Text::new(&line[first.min(second)..first.max(second)], is_escaped)
        });
        let record = Record {
            level: Level::Error,
            message,
            module,
            timestamp: Some(timestamp),
            is_entry: true,
            has_fields: false,
        };
        let mut batch = Batch::default();
        batch.push(b"before", Record::text(b"before", Level::Info));
        batch.push(&line, record);
        prop_assert_eq!(batch.get(1), Some((&line[..], record)));
    }
}
