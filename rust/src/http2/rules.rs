//! What a header list must look like (RFC 9113 §8.2 and §8.3).

use super::hpack::Headers;

/// What a header list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Request,
    Response,
    Trailers,
}

/// What is to be known of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts {
    pub(super) length: Option<u64>,
    // Another answer follows.
    pub(super) is_informational: bool,
}

/// Looks at a header list; when it breaks a rule, says which.
pub(super) fn check(headers: &Headers, role: Role) -> Result<Facts, &'static str> {
    let mut facts = Facts::default();
    let mut is_regular = false;
    let [mut method, mut scheme, mut path, mut authority, mut status] = [None; 5];
    for (name, value) in headers.iter() {
        if value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
            return Err("a header value with a line break or a zero byte");
        }
        if let Some((b':', _)) = name.split_first() {
            let slot = match (role, name) {
                (Role::Request, b":method") => &mut method,
                (Role::Request, b":scheme") => &mut scheme,
                (Role::Request, b":path") => &mut path,
                (Role::Request, b":authority") => &mut authority,
                (Role::Response, b":status") => &mut status,
                _ => return Err("a pseudo-header that does not belong there"),
            };
            if is_regular {
                return Err("a pseudo-header behind other headers");
            }
            if slot.replace(value).is_some() {
                return Err("a pseudo-header that comes twice");
            }
            continue;
        }
        is_regular = true;
        regular(name, value, &mut facts)?;
    }
    match role {
        Role::Request if method == Some(b"CONNECT") => {
            if authority.is_none() || scheme.is_some() || path.is_some() {
                return Err("a CONNECT request with the wrong pseudo-headers");
            }
        }
        Role::Request => {
            if method.is_none() || scheme.is_none() || path.is_none_or(<[u8]>::is_empty) {
                return Err("a request without a method, a scheme or a path");
            }
        }
        Role::Response => match status {
            Some([b'1', b'0'..=b'9', b'0'..=b'9']) => facts.is_informational = true,
            Some([b'2'..=b'9', b'0'..=b'9', b'0'..=b'9']) => {}
            _ => return Err("a response without a status"),
        },
        Role::Trailers => {}
    }
    Ok(facts)
}

fn regular(name: &[u8], value: &[u8], facts: &mut Facts) -> Result<(), &'static str> {
    let is_allowed = |byte: &u8| matches!(byte, 0x21..=0x39 | 0x3b..=0x40 | 0x5b..=0x7e);
    if name.is_empty() || !name.iter().all(is_allowed) {
        return Err("a header name with characters that are not allowed");
    }
    match name {
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
            Err("a header that is about a connection")
        }
        b"te" if value != b"trailers" => Err("a te header that is not trailers"),
        b"content-length" => {
            let length = str::from_utf8(value)
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse().ok())
                .ok_or("a content-length that is no number")?;
            if facts.length.replace(length).is_some_and(|before| before != length) {
                return Err("two content-lengths");
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
