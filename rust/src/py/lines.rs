//! `parse_log_line`.

use std::borrow::Cow;

use pyo3::prelude::*;

use crate::hclog::Parser;

type Parsed<'a> = (&'static str, Cow<'a, str>, Cow<'a, str>, Option<Cow<'a, str>>, bool);

#[pyfunction]
#[pyo3(signature = (line, /))]
pub(super) fn parse_log_line(line: &[u8]) -> Parsed<'_> {
    let record = Parser::new().parse(line);
    (
        record.level.name(),
        record.message.decode(),
        record.module.decode(),
        record.timestamp.map(|text| text.decode()),
        record.has_fields,
    )
}
