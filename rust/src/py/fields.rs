//! The fields of an entry as a `dict`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::hclog::Member;
use crate::hclog::json::{Text, Token, Tokens, to_float};

// Where the next value goes: containers may be nested deeper than a recursion could follow.
enum Open<'py> {
    Object(Bound<'py, PyDict>, Option<Bound<'py, PyString>>),
    Array(Bound<'py, PyList>),
}

#[pyfunction]
#[pyo3(signature = (line, /))]
pub(super) fn decode_fields<'py>(py: Python<'py>, line: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    let mut tokens = Tokens::new(line);
    let mut open = Vec::new();
    // The line was parsed before: what is malformed in it ends the fields, and is none of a record's.
    while let Ok(Some(token)) = tokens.next() {
        let value = match token {
            Token::ObjectStart if open.is_empty() => {
                open.push(Open::Object(fields.clone(), None));
                continue;
            }
            Token::ObjectStart => {
                open.push(Open::Object(PyDict::new(py), None));
                continue;
            }
            Token::ArrayStart => {
                open.push(Open::Array(PyList::empty(py)));
                continue;
            }
            Token::Key(key) => {
                if open.len() == 1 && is_special(key, &tokens) {
                    // The last of its name counts, and this one is no field.
                    if fields.contains("@module")? && Member::of(key) == Member::Module {
                        fields.del_item("@module")?;
                    }
                    let _ = tokens.skip_value();
                } else if let Some(Open::Object(_, name)) = open.last_mut() {
                    *name = Some(PyString::new(py, &key.decode()));
                }
                continue;
            }
            Token::ObjectEnd | Token::ArrayEnd => match open.pop() {
                Some(Open::Object(object, _)) if open.is_empty() => return Ok(object),
                Some(Open::Object(object, _)) => object.into_any(),
                Some(Open::Array(array)) => array.into_any(),
                None => break,
            },
            Token::String(text) => PyString::new(py, &text.decode()).into_any(),
            Token::Number(number) => self::number(py, number)?,
            Token::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
            Token::Null => py.None().into_bound(py),
        };
        match open.last_mut() {
            Some(Open::Object(object, name)) => object.set_item(name.take(), value)?,
            Some(Open::Array(array)) => array.append(value)?,
            None => break,
        }
    }
    Ok(fields)
}

// A module that is no string is a field like any other.
fn is_special(key: Text<'_>, tokens: &Tokens<'_>) -> bool {
    match Member::of(key) {
        Member::Field => false,
        Member::Module => tokens.is_at_string(),
        Member::Level | Member::Message | Member::Timestamp => true,
    }
}

fn number<'py>(py: Python<'py>, number: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let text = std::str::from_utf8(number).unwrap_or("0");
    if text.contains(['.', 'e', 'E']) {
        return Ok(to_float(number).into_pyobject(py)?.into_any());
    }
    if let Ok(integer) = text.parse::<i64>() {
        return Ok(integer.into_pyobject(py)?.into_any());
    }
    // Python refuses to read integers of thousands of digits; as floats they have their size.
    let integer = py.get_type::<pyo3::types::PyInt>().call1((text,));
    integer.or_else(|_| Ok(to_float(number).into_pyobject(py)?.into_any()))
}
