//! The handshake: one line on the plugin's stdout that tells the host how to connect.
//!
//! `CORE|APP|NETWORK|ADDRESS[|PROTOCOL[|CERT[|MUX]]]`, parts counted from 1. Parsing follows the
//! host in go-plugin's `client.go` (`Start`), formatting the plugin in its `server.go` (`Serve`).

use std::fmt;

/// The version of the handshake itself, part 1 of the line.
pub const CORE_PROTOCOL_VERSION: i64 = 1;

/// What a line without part 5 speaks: plugins older than that part knew only net/rpc.
pub const DEFAULT_PROTOCOL: &[u8] = b"netrpc";

// Old plugins wrote unrelated data in part 6; go-plugin takes it for a certificate only above this.
const LONGEST_PART_6_WITHOUT_CERTIFICATE: usize = 50;

// How much of an offending part an error repeats.
const LONGEST_QUOTE: usize = 64;

/// A parsed handshake line. The byte slices borrow from the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeLine<'a> {
    /// Part 2: the version of the application's protocol that the plugin chose.
    pub app_protocol_version: i64,
    /// Part 3: `unix` or `tcp`, unchecked.
    pub network: &'a [u8],
    /// Part 4: socket path or `host:port`, unchecked.
    pub address: &'a [u8],
    /// Part 5: `grpc` or `netrpc`, unchecked; `netrpc` when the part is missing.
    pub protocol: &'a [u8],
    /// Part 6: base64 of the plugin's certificate (DER); empty when there is none.
    pub certificate: &'a [u8],
    /// Part 7: whether the plugin can multiplex its broker, unparsed; `None` when it was not written.
    pub multiplex: Option<&'a [u8]>,
}

/// Why a line is no handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Fewer than the four parts that every version writes.
    TooFewParts {
        /// How many parts there were.
        parts: usize,
        /// The start of the line.
        line: String,
    },
    /// A version part is no decimal integer of 64 bits.
    NotAnInteger {
        /// Which part, counted from 1.
        part: usize,
        /// The start of the part.
        text: String,
    },
    /// Part 1 is not the version that this library speaks.
    CoreVersion {
        /// The version that the plugin speaks.
        found: i64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewParts { parts, line } => write!(
                formatter,
                "not a go-plugin handshake: expected at least 4 parts separated by '|', \
                 got {parts} in {line:?}"
            ),
            Self::NotAnInteger { part, text } => {
                let name = if *part == 1 { "core" } else { "app" };
                write!(
                    formatter,
                    "part {part} of the handshake ({name} protocol version) is not an integer: \
                     {text:?}"
                )
            }
            Self::CoreVersion { found } => write!(
                formatter,
                "part 1 of the handshake: the plugin speaks core protocol version {found}, this \
                 host speaks {CORE_PROTOCOL_VERSION}; the plugin must be rebuilt with a go-plugin \
                 library of this core version"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Why a line cannot be written: a part holds a byte that would end it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatError {
    /// Which part, counted from 1.
    pub part: usize,
}

impl fmt::Display for FormatError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.part {
            3 => "network",
            4 => "address",
            5 => "protocol",
            _ => "certificate",
        };
        write!(
            formatter,
            "part {} of the handshake ({name}) holds a '|' or a line break, which would end it",
            self.part
        )
    }
}

impl std::error::Error for FormatError {}

/// Reads one handshake line; white space around it, its line end included, is ignored.
///
/// # Errors
/// See [`Error`]. Parts 3 to 7 are handed on as they are: what they may hold is for the host to
/// judge, in its own order.
pub fn parse(line: &[u8]) -> Result<HandshakeLine<'_>, Error> {
    let line = trim(line);
    let mut parts = line.split(|byte| *byte == b'|');
    let (Some(core), Some(app), Some(network), Some(address)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Error::TooFewParts {
            parts: line.split(|byte| *byte == b'|').count(),
            line: quote(line),
        });
    };
    let core = integer(1, core)?;
    if core != CORE_PROTOCOL_VERSION {
        return Err(Error::CoreVersion { found: core });
    }
    let app_protocol_version = integer(2, app)?;
    let protocol = parts.next().unwrap_or(DEFAULT_PROTOCOL);
    let certificate = parts
        .next()
        .filter(|part| part.len() > LONGEST_PART_6_WITHOUT_CERTIFICATE)
        .unwrap_or_default();
    Ok(HandshakeLine {
        app_protocol_version,
        network,
        address,
        protocol,
        certificate,
        multiplex: parts.next(),
    })
}

/// Writes the line of a plugin, without the line end.
///
/// Part 6 is always written, empty or not; part 7 only for `Some`, since hosts that know six parts
/// would read it as the end of the certificate.
///
/// # Errors
/// [`FormatError`] when a part holds `|`, CR or LF.
pub fn format(
    app_protocol_version: i64,
    network: &[u8],
    address: &[u8],
    protocol: &[u8],
    certificate: &[u8],
    multiplex: Option<bool>,
) -> Result<Vec<u8>, FormatError> {
    let mut line = format!("{CORE_PROTOCOL_VERSION}|{app_protocol_version}").into_bytes();
    for (part, bytes) in (3..).zip([network, address, protocol, certificate]) {
        if bytes.iter().any(|byte| b"|\r\n".contains(byte)) {
            return Err(FormatError { part });
        }
        line.push(b'|');
        line.extend_from_slice(bytes);
    }
    if let Some(multiplex) = multiplex {
        line.extend_from_slice(if multiplex { b"|true" } else { b"|false" });
    }
    Ok(line)
}

// Go trims Unicode white space, also around bytes that are no UTF-8: a path may hold any byte.
fn trim(line: &[u8]) -> &[u8] {
    let line = match line.utf8_chunks().next() {
        Some(first) => {
            let text = first.valid();
            let spaces = text.len().saturating_sub(text.trim_start().len());
            line.get(spaces..).unwrap_or_default()
        }
        None => line,
    };
    match line.utf8_chunks().last() {
        Some(last) if last.invalid().is_empty() => {
            let text = last.valid();
            let spaces = text.len().saturating_sub(text.trim_end().len());
            line.get(..line.len().saturating_sub(spaces)).unwrap_or_default()
        }
        _ => line,
    }
}

// Rust's own parser takes what Go's strconv.Atoi takes: an optional sign and digits.
fn integer(part: usize, bytes: &[u8]) -> Result<i64, Error> {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::NotAnInteger { part, text: quote(bytes) })
}

fn quote(bytes: &[u8]) -> String {
    let end = bytes.len().min(LONGEST_QUOTE);
    let mut text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    if bytes.len() > LONGEST_QUOTE {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"1|3|unix|/tmp/plugin123|grpc|";

    fn parse_ok(line: &[u8]) -> HandshakeLine<'_> {
        match parse(line) {
            Ok(parsed) => parsed,
            Err(error) => unreachable!("{error}"),
        }
    }

    #[test]
    fn a_line_of_six_parts() {
        assert_eq!(
            parse_ok(LINE),
            HandshakeLine {
                app_protocol_version: 3,
                network: b"unix",
                address: b"/tmp/plugin123",
                protocol: b"grpc",
                certificate: b"",
                multiplex: None,
            }
        );
    }

    #[test]
    fn four_parts_are_a_net_rpc_plugin() {
        assert_eq!(parse_ok(b"1|1|tcp|127.0.0.1:1").protocol, b"netrpc");
    }

    #[test]
    fn part_seven_is_told_apart_from_its_absence() {
        assert_eq!(parse_ok(b"1|1|unix|/s|grpc||true").multiplex, Some(&b"true"[..]));
        assert_eq!(parse_ok(b"1|1|unix|/s|grpc||").multiplex, Some(&b""[..]));
        assert_eq!(parse_ok(b"1|1|unix|/s|grpc|").multiplex, None);
        assert_eq!(parse_ok(b"1|1|unix|/s|grpc||false|more").multiplex, Some(&b"false"[..]));
    }

    #[test]
    fn part_six_is_a_certificate_above_fifty_bytes() {
        let with = |length: usize| format!("1|1|unix|/s|grpc|{}", "A".repeat(length)).into_bytes();
        assert_eq!(parse_ok(&with(50)).certificate, b"");
        assert_eq!(parse_ok(&with(51)).certificate.len(), 51);
    }

    #[test]
    fn white_space_around_the_line_is_ignored() {
        assert_eq!(
            parse_ok("\u{a0}\t1|3|unix|/tmp/plugin123|grpc|\r\n\u{2003}".as_bytes()),
            parse_ok(LINE)
        );
        assert_eq!(parse_ok(b" 1|3|unix|/tmp/\xff|grpc|\r\n").address, b"/tmp/\xff");
        assert_eq!(parse_ok(b"\xc2\xa01|3|unix|/\xff\xc2\xa0").address, b"/\xff");
        assert_eq!(parse_ok(b"1|3|unix|/s \xff").address, b"/s \xff");
    }

    #[test]
    fn integers_are_read_as_go_reads_them() {
        assert_eq!(parse_ok(b"+1|-7|unix|/s").app_protocol_version, -7);
        assert_eq!(parse_ok(b"01|007|unix|/s").app_protocol_version, 7);
        for bad in ["", " 1", "1_0", "0x1", "1.0", "9223372036854775808", "\u{661}"] {
            let line = format!("1|{bad}|unix|/s");
            assert!(
                matches!(parse(line.as_bytes()), Err(Error::NotAnInteger { part: 2, .. })),
                "{bad:?}"
            );
        }
        assert!(matches!(parse(b"x|1|unix|/s"), Err(Error::NotAnInteger { part: 1, .. })));
    }

    #[test]
    fn another_core_version_is_refused() {
        assert_eq!(parse(b"2|x|unix|/s|grpc|"), Err(Error::CoreVersion { found: 2 }));
    }

    #[test]
    fn too_few_parts_are_counted_and_quoted() {
        let error = parse(b"Traceback | most recent\n").err();
        assert_eq!(
            error.map(|error| error.to_string()).unwrap_or_default(),
            "not a go-plugin handshake: expected at least 4 parts separated by '|', got 2 in \
             \"Traceback | most recent\""
        );
    }

    #[test]
    fn quotes_are_short_whatever_the_line() {
        for line in [vec![b'x'; 1 << 20], vec![0xff; 1 << 20], Vec::new()] {
            let text = parse(&line).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(!text.is_empty() && text.len() < 500);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let alphabet = b"1|-+\xff\xc3\x28 \nx\x00";
        let mut state = 1_u32;
        for _ in 0..20_000 {
            let mut line = Vec::new();
            for _ in 0..(state % 23) {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let index = (state >> 16) as usize % alphabet.len();
                line.extend(alphabet.get(index));
            }
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let _ = parse(&line);
        }
    }

    #[test]
    fn a_formatted_line_parses_back() {
        let certificate = [b'A'; 64];
        let line = format(7, b"tcp", b"127.0.0.1:5", b"grpc", &certificate, Some(true));
        let line = line.unwrap_or_default();
        let parsed = parse_ok(&line);
        assert_eq!(parsed.app_protocol_version, 7);
        assert_eq!(parsed.certificate, certificate);
        assert_eq!(parsed.multiplex, Some(&b"true"[..]));
    }

    #[test]
    fn part_six_is_written_and_part_seven_only_when_asked_for() {
        let line = |multiplex| format(1, b"unix", b"/s", b"grpc", b"", multiplex);
        assert_eq!(line(None), Ok(b"1|1|unix|/s|grpc|".to_vec()));
        assert_eq!(line(Some(false)), Ok(b"1|1|unix|/s|grpc||false".to_vec()));
    }

    #[test]
    fn a_part_that_would_break_the_line_is_refused() {
        assert_eq!(format(1, b"unix", b"/a|b", b"grpc", b"", None), Err(FormatError { part: 4 }));
        assert_eq!(format(1, b"unix", b"/s", b"grpc\n", b"", None), Err(FormatError { part: 5 }));
    }
}
