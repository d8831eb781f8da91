use pyplugin_rust::hclog::Level;
use pyplugin_rust::hclog::batch::{Batch, LogStream};
use pyplugin_rust::lines::{LEAST_LIMIT, LineSplitter};

/// A stream is cut into the same lines, and says the same, in whatever chunks it comes.
///
/// The first byte chooses how long a line may be, the second which level is wanted, and each one up
/// to a zero how long the next chunk is; the stream follows.
pub fn hclog_chunks(data: &[u8]) {
    let [limit, least, rest @ ..] = data else { return };
    let limit = [1, LEAST_LIMIT, 17, 64, 300, 1 << 16][usize::from(*limit) % 6];
    let least = Level::ALL[usize::from(*least) % Level::ALL.len()];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let (sizes, stream) = rest.split_at(end);
    let stream = stream.strip_prefix(b"\0").unwrap_or(stream);
    let chunks = chunks(sizes, stream);

    let lines = reference(stream, limit.max(LEAST_LIMIT));
    assert_eq!(split(&[stream], limit), lines);
    assert_eq!(split(&chunks, limit), lines);

    let whole = read(&[stream], limit, Level::Trace);
    let mut copy = Vec::new();
    for (text, _, has_end) in &lines {
        copy.extend_from_slice(text);
        copy.extend_from_slice(if *has_end { b"\n" } else { b"" });
    }
    assert_eq!(whole.copy, copy);
    let texts: Vec<&[u8]> =
        lines.iter().map(|(text, ..)| text.as_slice()).filter(|text| !text.is_empty()).collect();
    assert_eq!(whole.records.iter().map(|record| &record.line).collect::<Vec<_>>(), texts);

    let wanted = whole.records.into_iter().filter(|record| record.level >= least).collect();
    assert_eq!(read(&chunks, limit, least), Said { records: wanted, ..whole });
}

fn chunks<'a>(sizes: &[u8], mut stream: &'a [u8]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for size in sizes {
        let Some((chunk, rest)) = stream.split_at_checked(usize::from(*size)) else { break };
        chunks.push(chunk);
        stream = rest;
    }
    chunks.push(stream);
    chunks
}

type OwnedLine = (Vec<u8>, bool, bool);

fn split(chunks: &[&[u8]], limit: usize) -> Vec<OwnedLine> {
    let mut lines = Vec::new();
    let mut splitter = LineSplitter::new(limit);
    let mut each = |line: pyplugin_rust::lines::Line<'_>| {
        lines.push((line.text.to_vec(), line.is_whole, line.has_end));
    };
    for chunk in chunks {
        splitter.push(chunk, &mut each);
    }
    splitter.finish(&mut each);
    lines
}

// Byte by byte, as a buffered reader of this size in Go fills up.
fn reference(stream: &[u8], size: usize) -> Vec<OwnedLine> {
    let mut lines = Vec::new();
    let mut buffer = Vec::new();
    let mut is_whole = true;
    for byte in stream {
        if *byte == b'\n' {
            let text = buffer.strip_suffix(b"\r").unwrap_or(&buffer).to_vec();
            lines.push((text, is_whole, true));
            buffer.clear();
            is_whole = true;
            continue;
        }
        buffer.push(*byte);
        if buffer.len() == size {
            // It may be that of a CR LF, of which the next piece begins with both.
            let held = if *byte == b'\r' { buffer.pop() } else { None };
            lines.push((std::mem::take(&mut buffer), false, false));
            buffer.extend(held);
            is_whole = false;
        }
    }
    if !buffer.is_empty() {
        lines.push((buffer, is_whole, true));
    }
    lines
}

#[derive(Debug, PartialEq)]
struct Said {
    records: Vec<OwnedRecord>,
    copy: Vec<u8>,
    tail: Vec<Vec<u8>>,
}

#[derive(Debug, PartialEq)]
struct OwnedRecord {
    line: Vec<u8>,
    level: Level,
    message: String,
    module: String,
    timestamp: Option<String>,
    is_entry: bool,
    has_fields: bool,
}

// What a log stream says, through a batch.
fn read(chunks: &[&[u8]], limit: usize, least: Level) -> Said {
    let mut stream = LogStream::new(limit);
    let mut batch = Batch::default();
    let mut copy = Vec::new();
    for chunk in chunks {
        stream.push(chunk, least, Some(&mut copy), &mut |line, record| batch.push(line, record));
    }
    stream.finish(least, Some(&mut copy), &mut |line, record| batch.push(line, record));
    let records = (0..batch.len())
        .filter_map(|index| batch.get(index))
        .map(|(line, record)| OwnedRecord {
            line: line.to_vec(),
            level: record.level,
            message: record.message.decode().into_owned(),
            module: record.module.decode().into_owned(),
            timestamp: record.timestamp.map(|text| text.decode().into_owned()),
            is_entry: record.is_entry,
            has_fields: record.has_fields,
        })
        .collect();
    Said { records, copy, tail: stream.tail().map(<[u8]>::to_vec).collect() }
}
