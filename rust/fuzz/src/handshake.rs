use pyplugin_rust::handshake::{HandshakeLine, format, parse};

/// Any line is a handshake or an error of bounded length; what was read and can be written is read
/// back the same.
pub fn handshake(line: &[u8]) {
    match parse(line) {
        Ok(parsed) => {
            round_trip(&parsed, Some(true));
            round_trip(&parsed, Some(false));
            // At the end of the line, white space is no part of a certificate.
            if parsed.certificate.is_empty() {
                round_trip(&parsed, None);
            }
        }
        Err(error) => assert!(error.to_string().len() < 1000, "{error}"),
    }
}

fn round_trip(parsed: &HandshakeLine<'_>, multiplex: Option<bool>) {
    let parts = [parsed.network, parsed.address, parsed.protocol, parsed.certificate];
    let written = format(
        parsed.app_protocol_version,
        parsed.network,
        parsed.address,
        parsed.protocol,
        parsed.certificate,
        multiplex,
    );
    let would_break = parts.concat().iter().any(|byte| b"\r\n".contains(byte));
    assert_eq!(written.is_err(), would_break, "{written:?}");
    let Ok(line) = written else { return };
    let multiplex = multiplex.map(|flag| if flag { "true".as_bytes() } else { b"false" });
    assert_eq!(parse(&line), Ok(HandshakeLine { multiplex, ..*parsed }));
}
