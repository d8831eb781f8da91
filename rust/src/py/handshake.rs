//! `parse_handshake` and `format_handshake`.

use std::borrow::Cow;

use pyo3::prelude::*;

use crate::handshake;

type Parsed<'a> =
    (i64, i64, Cow<'a, [u8]>, Cow<'a, [u8]>, Cow<'a, [u8]>, Cow<'a, [u8]>, Option<Cow<'a, [u8]>>);

#[pyfunction]
#[pyo3(signature = (line, /))]
pub(super) fn parse_handshake(line: &[u8]) -> PyResult<Parsed<'_>> {
    let parsed = handshake::parse(line)?;
    Ok((
        handshake::CORE_PROTOCOL_VERSION,
        parsed.app_protocol_version,
        parsed.network.into(),
        parsed.address.into(),
        parsed.protocol.into(),
        parsed.certificate.into(),
        parsed.multiplex.map(Into::into),
    ))
}

#[pyfunction]
#[pyo3(signature = (app_protocol_version, network, address, protocol, certificate, multiplex, /))]
pub(super) fn format_handshake(
    app_protocol_version: i64,
    network: &[u8],
    address: &[u8],
    protocol: &[u8],
    certificate: &[u8],
    multiplex: Option<bool>,
) -> PyResult<Cow<'static, [u8]>> {
    Ok(handshake::format(app_protocol_version, network, address, protocol, certificate, multiplex)?
        .into())
}
